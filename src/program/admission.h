/* admission: which of a program's own addresses are the app's, and so shared. Pure. */
#ifndef UMBEL_PROGRAM_ADMISSION_H
#define UMBEL_PROGRAM_ADMISSION_H

#include "base/address.h"
#include "umbel.h"

/* False: its bind(2) is left alone. Never shared: port 0, unix sockets, multicast; of udp only what the operator wants;
 * nothing that he leaves out (settings.no_share), and with settings.listen nothing else than that. */
bool admission_is_shared(const struct umbel_settings *s, const struct address *a);

/* Nobody names it, and ret, which is named, has the same port: hardly what the operator meant. */
bool admission_is_beside(const struct umbel_settings *s, const struct address *a, struct address *ret);

#endif
