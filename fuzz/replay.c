/* Feeds files, and the files in directories, to a fuzz target: a corpus without libFuzzer. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int complain(const char *path, int error)
{
	fprintf(stderr, "replay: %s: %s\n", path, strerror(error));
	return -error;
}

/* Returns the inputs replayed (1), or -errno when said. */
static int replay_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	FILE *file = fopen(path, "re");
	size_t got;

	if (!data || !file) {
		int error = errno;

		free(data);
		if (file)
			fclose(file);
		return complain(path, error);
	}
	got = fread(data, 1, size, file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, got);
	free(data);
	return 1;
}

static int replay(const char *path);

static int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r = 0, count = 0;

	if (!dir)
		return complain(path, errno);
	while (r >= 0 && (entry = readdir(dir))) {
		char inside[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name) >=
		    (int)sizeof(inside))
			r = complain(path, ENAMETOOLONG);
		else
			r = replay(inside);
		count += r > 0 ? r : 0;
	}
	closedir(dir);
	return r < 0 ? r : count;
}

static int replay(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return complain(path, errno);
	if (S_ISDIR(st.st_mode))
		return replay_directory(path);
	return replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		int r = replay(argv[i]);

		if (r < 0)
			return 1;
		count += r;
	}
	printf("replayed %d inputs\n", count);
	return count > 0 ? 0 : 1;
}
