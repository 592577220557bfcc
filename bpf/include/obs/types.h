/* Integer types and the few kernel structs that programs read, with CO-RE relocations. No vmlinux.h: a shipped object
 * must not depend on the kernel of the machine that built it. Add a struct or member when a program needs it. */
#ifndef OBS_TYPES_H
#define OBS_TYPES_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u16 __le16;
typedef __u32 __be32;
typedef __u32 __le32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

#include <obs/uapi.h>

#endif
