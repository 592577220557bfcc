/* `obsload run`: the parent of monitor, worker and unpacker. It prepares the host while it is root, keeps what the others
 * need a parent for (other uids, signals, packet sockets), and reads nothing but fixed requests of the monitor. */
#ifndef OBS_SUPERVISOR_H
#define OBS_SUPERVISOR_H

/* argv[0] is the command's name ("run"), options follow. Returns the exit status; prints its own errors. */
int supervisor_main(int argc, char **argv);

#endif
