from . import along as along
from . import auditing as auditing
from . import classical as classical
from . import contrasting as contrasting
from . import design as design
from . import estimands as estimands
from . import outcome as outcome
from . import sampling as sampling
