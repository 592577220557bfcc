# Everything but main.c is a library, which tests and fuzz targets link.
LIBRARIES += worker
worker_src := $(addprefix loader/worker/,dns.c filter.c history.c json.c kallsyms.c lost.c queue.c request.c ring.c \
	stats.c stream.c subscriber.c table.c value.c)
