#pragma once
// c-ares, from 1.18 (Debian 12) on. Later versions prefer other functions for what these do.
#define CARES_NO_DEPRECATED
#include <ares.h>
