# Unit tests: tests/unit/<folder>_<module>_test.c, one binary a module; names in UNIT_TESTS.

