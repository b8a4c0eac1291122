"""What every floor may use and no user imports: files, text, and checks of others' files."""
