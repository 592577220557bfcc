/* TCP connections: connect, accept, failure, close, and the interval between. State changes often run in softirq, on
 * behalf of whoever happens to be on that CPU, so the process is taken where it is certain and kept with the socket. */
#include <obs/obs.h>

#include <bpf/bpf_tracing.h>

#include "tcp_events.h"

#include "tcp_conn.h"

#include "tcp_accept.h"
#include "tcp_connect.h"
#include "tcp_flow.h"
#include "tcp_loss.h"
#include "tcp_state.h"

OBS_LICENSE("GPL");
