#include "base/reason.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int reason_set(struct reason *r, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->text, sizeof(r->text), format, args);
	va_end(args);
	return err;
}

bool error_is_lack(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -ENOBUFS;
}
