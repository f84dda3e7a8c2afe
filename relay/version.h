// SPDX-License-Identifier: Apache-2.0
#ifndef WEIR_RELAY_VERSION_H
#define WEIR_RELAY_VERSION_H

// What `git describe` said of the tree that was built: "v1.2.0", "v1.2.0-5-gabcdef0", with "-dirty" when it was changed.
extern const char weir_version[];
extern const char weir_user_agent[]; // "weir/<version>"

#endif
