from .files import read as read
from .files import write as write
from .wide import read_scores as read_scores
