# The kernel side of a bundle, apart from the monitor's main, so that tests link it alone.
LIBRARIES += kernel
kernel_src := $(addprefix loader/monitor/,kernel.c kernel_adopt.c kernel_attach.c kernel_choose.c kernel_interface.c \
	kernel_iter.c kernel_load.c kernel_missed.c kernel_net.c kernel_perf.c kernel_pin.c kernel_probe.c kernel_target.c \
	kernel_uprobe.c kernel_usdt.c kernel_usdt_args.c kernel_view.c params.c sample.c sample_read.c)
