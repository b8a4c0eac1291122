"""Draw the variances: the collapsed density, NUTS, and the completion of missing cells."""
