LIBRARIES += keys
keys_src := keys/attach.c keys/btf_check.c keys/capabilities.c keys/cert.c keys/cms.c keys/code.c keys/flow.c \
	keys/flow_insn.c keys/flow_value.c keys/gate.c keys/libbpf_said.c keys/object.c keys/policy.c keys/policy_default.c keys/sign.c keys/trust.c
