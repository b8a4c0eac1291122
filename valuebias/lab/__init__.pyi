from .models import about as about
from .models import pretrain as pretrain
from .preferences import generate_preferences as generate_preferences
from .text import generate_text as generate_text
