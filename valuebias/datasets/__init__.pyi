from .released import info as info
from .released import load as load
from .released import names as names
