/* Memory that runs out when a test says so: preloaded into umbel (LD_PRELOAD). LACK names the file of the orders, which
 * the test has mapped too (tests/scenario/lacking.py). Only the first umbel that comes obeys them: neither the workers
 * nor whatever else it starts. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static struct orders {
	atomic_int pid;    /* who obeys; 0: nobody has come */
	atomic_int before; /* so many succeed, */
	atomic_int lacks;  /* then so many fail; 0: no order */
	atomic_int failed; /* did */
} *orders;

/* libuv does not expect it everywhere: it aborts. */
static bool is_libuv(void *caller)
{
	Dl_info info;

	return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libuv");
}

static bool fails(void *caller)
{
	if (!orders || orders->lacks == 0 || orders->pid != getpid() || is_libuv(caller))
		return false;
	if (orders->before > 0) {
		orders->before--;
		return false;
	}
	orders->lacks--;
	orders->failed++;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("LACK");
	bool is_umbel = strcmp(program_invocation_short_name, "umbel") == 0;
	int nobody = 0, fd = path && is_umbel ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	orders = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (orders == MAP_FAILED)
		orders = NULL;
	else
		atomic_compare_exchange_strong(&orders->pid, &nobody, getpid());
}
