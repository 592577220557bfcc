/* loadall FOLDER OBJECT [WITHOUT...]: what `bpftool prog loadall` does, but for the programs named WITHOUT: bpftool cannot
 * leave out those that a kernel refuses. Pins into FOLDER on a bpffs. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct bpf_program *program;

	if (argc < 3) {
		fprintf(stderr, "usage: loadall FOLDER OBJECT [WITHOUT...]\n");
		return 2;
	}
	struct bpf_object *obj = bpf_object__open(argv[2]);
	if (!obj) {
		perror(argv[2]);
		return 1;
	}
	bpf_object__for_each_program(program, obj)
	{
		for (int i = 3; i < argc; i++)
			if (strcmp(bpf_program__name(program), argv[i]) == 0)
				bpf_program__set_autoload(program, false);
	}
	if (bpf_object__load(obj)) {
		perror(argv[2]);
		return 1;
	}
	bpf_object__for_each_program(program, obj)
	{
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", argv[1], bpf_program__name(program));
		if (bpf_program__autoload(program) && bpf_program__pin(program, path)) {
			perror(path);
			return 1;
		}
	}
	bpf_object__close(obj);
	return 0;
}
