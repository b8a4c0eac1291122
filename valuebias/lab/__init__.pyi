from .grid import train_grid as train_grid
from .models import about as about
from .models import pretrain as pretrain
from .preferences import generate_preferences as generate_preferences
from .rewards import train_reward_model as train_reward_model
from .text import generate_text as generate_text
