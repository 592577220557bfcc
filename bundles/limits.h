/* Limits of the bundle format (obs-bundle(5)). The one place. */
#ifndef OBS_BUNDLES_LIMITS_H
#define OBS_BUNDLES_LIMITS_H

enum {
	BUNDLE_MAX_BYTES = 64 << 20, /* the whole tar */
	BUNDLE_MANIFEST_MAX_BYTES = 1 << 20,
	BUNDLE_MAX_SIGNATURES = 16,
	BUNDLE_SIGNATURE_MAX_BYTES = 64 << 10,
	BUNDLE_MAX_OBJECTS = 256,
	BUNDLE_OBJECT_MAX_BYTES = 16 << 20,
	BUNDLE_MAX_FILES = 1 + BUNDLE_MAX_SIGNATURES + BUNDLE_MAX_OBJECTS,
	BUNDLE_PATH_MAX = 100, /* ustar's name field, without its prefix field */

	MANIFEST_NAME_MAX = 63,   /* each half of namespace/name */
	MANIFEST_TEXT_MAX = 1024, /* description, help */
	MANIFEST_IDENT_MAX = 127, /* programs, maps, variables, enumerators */
	MANIFEST_MAX_PROGRAMS = 256,
	MANIFEST_MAX_MAPS = 128,
	MANIFEST_MAX_EVENTS = 256,
	MANIFEST_MAX_FIELDS = 256, /* of one event */
	MANIFEST_MAX_PARAMS = 128,
	MANIFEST_MAX_ENUMERATORS = 512,
	MANIFEST_MAX_ENUMS = 128,
	MANIFEST_MAX_OUTPUTS = 128,
	MANIFEST_MAX_CAPABILITIES = 4096, /* of one object */
	MANIFEST_MAX_VARIABLES = 256,     /* of one parameter */
	MANIFEST_MAX_TOOLS = 16,
	MANIFEST_MAX_CONFIG = 64,
	MANIFEST_MAX_DEPTH = 16, /* of the JSON */
	PARAM_MAX_BYTES = 4096,  /* one parameter with all its elements */
	PARAM_TEXT_MAX_BYTES =
	    PARAM_MAX_BYTES * (MANIFEST_IDENT_MAX + 1), /* as text, at worst: names of one byte each */
	LOSS_MAX_SLOTS = 64,                            /* drop counters of one object */
	SAMPLE_MIN_MS = 100,
	SAMPLE_MAX_MS = 3600000,
	EVENT_MAX_BYTES = 32 << 10,       /* one record of a ring, one key or value of a map */
	EVENT_LINE_MAX_BYTES = 256 << 10, /* its JSON, at worst */
	FIELD_MAX_WORDS = 12,             /* of a dotted name */
	FIELD_MAX_LOG2_SLOTS = 64,
};

#endif
