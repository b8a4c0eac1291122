from . import audit as audit
from . import classical as classical
from . import contrasts as contrasts
from . import effects as effects
from . import outcome as outcome
from . import priors as priors
