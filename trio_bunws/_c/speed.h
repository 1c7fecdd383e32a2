/* What the sources of the extension `trio_bunws._speed` share: the version of Python's ABI, and each other's functions.

   Optional: the package does the same in plain Python, and the same tests run on both. Nothing in C holds a
   connection's state or decides what is allowed. A new source file is listed in pyproject.toml, its functions in
   module.c, _speed.pyi and _extension.py.

   Where a function's head does not say otherwise, its arguments are borrowed, and what it returns is a new reference,
   or NULL with an exception: TypeError for a wrong number or type of arguments, MemoryError, or what the head names. */

#ifndef TRIO_BUNWS_SPEED_H
#define TRIO_BUNWS_SPEED_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A frame's first two bytes, and what follows (RFC 6455, section 5.2); the names are those of _wire/frames.py. */
#define FINAL_TEXT 0x81 /* FIN | TEXT */
#define FINAL_BINARY 0x82
#define MASKED 0x80
#define MAX_SHORT 125
#define TWO_BYTES 126
#define EIGHT_BYTES 127
#define KEY 4 /* bytes of a mask */

/* What a module object has: its types, which a later interpreter makes anew. */
typedef struct {
    PyTypeObject *ready_messages;
} State;

/* masking.c */
void apply_mask(unsigned char *out, const unsigned char *in, Py_ssize_t size, const unsigned char key[KEY]);
PyObject *unmask(PyObject *module, PyObject *const *args, Py_ssize_t count);
extern const char unmask_doc[];

/* frames.c */
PyObject *text_frame(PyObject *module, PyObject *payload);
PyObject *binary_frame(PyObject *module, PyObject *payload);
PyObject *mask_frame(PyObject *module, PyObject *const *args, Py_ssize_t count);
extern const char text_frame_doc[], binary_frame_doc[], mask_frame_doc[];

/* ready.c */
PyObject *ready_messages(PyObject *module, PyObject *const *args, Py_ssize_t count);
extern const char ready_messages_doc[];
extern PyType_Spec ready_messages_spec;

/* sending.c */
PyObject *send_all(PyObject *module, PyObject *const *args, Py_ssize_t count);
extern const char send_all_doc[];

#endif
