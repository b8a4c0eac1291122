"""Read a saved fit: ``valuebias.load``."""

from __future__ import annotations

from os import PathLike

from valuebias.fitting.ablation_result import AblationFit
from valuebias.fitting.result import Fit
from valuebias.posterior.ablation.result import AblationPosterior
from valuebias.posterior.saved import load_saved

__all__ = ["load"]


def load(path: str | PathLike[str]) -> Fit | AblationFit:
    """Read a fit that was saved with :meth:`Fit.save` or :meth:`AblationFit.save`.

    Parameters
    ----------
    path : path
        A ``.nc`` file or ``.zarr`` folder.

    Returns
    -------
    Fit or AblationFit
        As it was when saved; its tables are computed again from the stored draws.

    Raises
    ------
    ValueBiasError
        If it cannot be read or is not a saved fit.

    Examples
    --------
    >>> import tempfile, pathlib, valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), draws=50, seed=1, progress=False)
    >>> path = fit.save(pathlib.Path(tempfile.mkdtemp()) / "fit.nc")
    >>> valuebias.load(path).settings["seed"]
    1
    """
    saved = load_saved(path)
    return AblationFit.of(saved) if isinstance(saved, AblationPosterior) else Fit.of(saved)
