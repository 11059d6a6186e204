#include "base/reason.h"

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
