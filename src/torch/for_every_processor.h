// Compiles a function for new processors and for old ones apart; which counts is decided when the
// program starts. Its loops are vectorised for each: vector types would be taken to pieces for the
// oldest first.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=haswell", "default")))
#else
#define FOR_EVERY_PROCESSOR
#endif
