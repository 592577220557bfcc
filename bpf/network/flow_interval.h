#ifndef NETWORK_FLOW_INTERVAL_H
#define NETWORK_FLOW_INTERVAL_H

#include <obs/obs.h>

OBS_PARAM(__u32, flow_interval_ms, 10000, 1000, 3600000,
	  "time between two tcp.flow or udp.flow events of the same flow, in ms");

#endif
