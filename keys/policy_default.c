#include <stddef.h>

#include "keys/policy.h"

/* Names, not patterns, wherever a later kernel may add something: what nobody has looked at is refused. Left out on
 * purpose: probe_write_user, override_return, send_signal, trace_printk (a shared, system-wide log), everything that
 * stores to packets, sockets, system controls or file systems, and calls that only BPF management needs. */
const char *const policy_default_allow[] = {
	/* where programs attach */
	"program:socket_filter", "program:kprobe", "program:tracepoint", "program:raw_tracepoint", "program:tracing",
	"program:perf_event", "program:cgroup_skb", "program:sock_ops", "program:sched_cls", "program:xdp",
	"attach:tp/*", "attach:raw_tp/*", "attach:tp_btf/*", "attach:kprobe/*", "attach:kretprobe/*",
	"attach:kprobe.multi/*", "attach:kretprobe.multi/*", "attach:ksyscall/*", "attach:kretsyscall/*",
	"attach:uprobe/*", "attach:uretprobe/*", "attach:uprobe", "attach:uretprobe", "attach:usdt/*", "attach:usdt",
	"attach:fentry/*", "attach:fexit/*", "attach:iter/*", "attach:perf_event", "attach:cgroup_skb/*",
	"attach:sockops", "attach:socket", "attach:tc", "attach:xdp",
	/* packets go on as they came: no write:packet, no write:context */
	"verdict:xdp/pass", "verdict:tc/unspec", "verdict:tc/ok", "verdict:tc/pipe", "verdict:cgroup_skb/allow",
	/* maps of the bundle itself */
	"map:hash", "map:array", "map:prog_array", "map:perf_event_array", "map:percpu_hash", "map:percpu_array",
	"map:stack_trace", "map:cgroup_array", "map:lru_hash", "map:lru_percpu_hash", "map:lpm_trie",
	"map:array_of_maps", "map:hash_of_maps", "map:queue", "map:stack", "map:sk_storage", "map:task_storage",
	"map:inode_storage", "map:cgrp_storage", "map:bloom_filter", "map:ringbuf",
	"helper:map_lookup_elem", "helper:map_update_elem", "helper:map_delete_elem", "helper:map_push_elem",
	"helper:map_pop_elem", "helper:map_peek_elem", "helper:map_lookup_percpu_elem", "helper:for_each_map_elem",
	"helper:sk_storage_get", "helper:sk_storage_delete", "helper:task_storage_get", "helper:task_storage_delete",
	"helper:inode_storage_get", "helper:inode_storage_delete", "helper:cgrp_storage_get",
	"helper:cgrp_storage_delete", "helper:spin_lock", "helper:spin_unlock", "helper:kptr_xchg",
	/* sending to user space */
	"helper:ringbuf_output", "helper:ringbuf_reserve", "helper:ringbuf_submit", "helper:ringbuf_discard",
	"helper:ringbuf_query", "helper:ringbuf_reserve_dynptr", "helper:ringbuf_submit_dynptr",
	"helper:ringbuf_discard_dynptr", "helper:dynptr_from_mem", "helper:dynptr_read", "helper:dynptr_write",
	"helper:dynptr_data", "helper:perf_event_output", "helper:skb_output", "helper:xdp_output",
	"helper:seq_printf", "helper:seq_write", "helper:seq_printf_btf", "helper:snprintf", "helper:snprintf_btf",
	/* reading kernel and user memory */
	"helper:probe_read", "helper:probe_read_str", "helper:probe_read_user", "helper:probe_read_user_str",
	"helper:probe_read_kernel", "helper:probe_read_kernel_str", "helper:copy_from_user",
	"helper:copy_from_user_task", "helper:per_cpu_ptr", "helper:this_cpu_ptr", "helper:d_path", "helper:find_vma",
	"ksym:*",
	/* time, processors, tasks, cgroups */
	"helper:ktime_get_ns", "helper:ktime_get_boot_ns", "helper:ktime_get_coarse_ns", "helper:ktime_get_tai_ns",
	"helper:jiffies64", "helper:get_prandom_u32", "helper:get_smp_processor_id", "helper:get_numa_node_id",
	"helper:get_current_pid_tgid", "helper:get_ns_current_pid_tgid", "helper:get_current_uid_gid",
	"helper:get_current_comm", "helper:get_current_task", "helper:get_current_task_btf", "helper:task_pt_regs",
	"helper:get_current_cgroup_id", "helper:get_current_ancestor_cgroup_id", "helper:current_task_under_cgroup",
	"helper:get_cgroup_classid", "kfunc:bpf_rcu_read_lock", "kfunc:bpf_rcu_read_unlock",
	"kfunc:bpf_cast_to_kern_ctx", "kfunc:bpf_rdonly_cast", "kfunc:bpf_task_acquire", "kfunc:bpf_task_release",
	"kfunc:bpf_task_from_pid", "kfunc:bpf_cgroup_acquire", "kfunc:bpf_cgroup_release",
	"kfunc:bpf_cgroup_ancestor", "kfunc:bpf_cgroup_from_id", "kfunc:bpf_iter_num_new", "kfunc:bpf_iter_num_next",
	"kfunc:bpf_iter_num_destroy",
	/* stacks, counters, what a probe was called with */
	"helper:get_stackid", "helper:get_stack", "helper:get_task_stack", "helper:perf_event_read",
	"helper:perf_event_read_value", "helper:perf_prog_read_value", "helper:read_branch_records",
	"helper:get_branch_snapshot", "helper:get_func_ip", "helper:get_attach_cookie", "helper:get_func_arg",
	"helper:get_func_ret", "helper:get_func_arg_cnt", "helper:get_retval",
	/* sockets and packets, reading */
	"helper:skb_load_bytes", "helper:skb_load_bytes_relative", "helper:xdp_load_bytes", "helper:xdp_get_buff_len",
	"helper:csum_diff", "helper:get_socket_cookie", "helper:get_netns_cookie", "helper:get_socket_uid",
	"helper:get_route_realm", "helper:getsockopt", "helper:load_hdr_opt", "helper:skb_get_tunnel_key",
	"helper:skb_get_tunnel_opt", "helper:skb_get_xfrm_state", "helper:skb_cgroup_id",
	"helper:skb_ancestor_cgroup_id", "helper:skb_cgroup_classid", "helper:skb_under_cgroup",
	"helper:sk_cgroup_id", "helper:sk_ancestor_cgroup_id", "helper:sk_fullsock", "helper:tcp_sock",
	"helper:get_listener_sock", "helper:sk_lookup_tcp", "helper:sk_lookup_udp", "helper:skc_lookup_tcp",
	"helper:sk_release", "helper:skc_to_tcp6_sock", "helper:skc_to_tcp_sock", "helper:skc_to_tcp_timewait_sock",
	"helper:skc_to_tcp_request_sock", "helper:skc_to_udp6_sock", "helper:skc_to_unix_sock",
	"helper:skc_to_mptcp_sock", "helper:sock_from_file", "helper:fib_lookup", "helper:check_mtu",
	"helper:sock_ops_cb_flags_set", /* which callbacks a sockops program gets, nothing of the connection */
	/* control flow and text */
	"helper:tail_call", "helper:loop", "helper:timer_init", "helper:timer_set_callback", "helper:timer_start",
	"helper:timer_cancel", "helper:strtol", "helper:strtoul", "helper:strncmp", NULL,
};
