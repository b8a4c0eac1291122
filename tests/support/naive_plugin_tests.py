from valuebias.backends.testing import BackendTests


class TestNaive(BackendTests):
    backend = "naive"
