# Unit tests: tests/unit/<folder>_<module>_test.c, one binary a module; names in UNIT_TESTS.


UNIT_TESTS += client_ask client_options client_pretty client_table client_where
$(foreach t,ask options pretty table where,$(eval tests/bin/client_$(t)_src := tests/unit/client_$(t)_test.c))
$(foreach t,ask options pretty table where,$(eval tests/bin/client_$(t)_libs := client ipc base))
$(foreach t,ask options pretty table where,$(eval tests/bin/client_$(t)_pkgs := jansson cmocka))
