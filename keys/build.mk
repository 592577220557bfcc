LIBRARIES += keys
keys_src := keys/cert.c keys/cms.c keys/gate.c keys/object.c keys/policy.c
