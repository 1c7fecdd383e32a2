/* Frames built, and masked as a client's (RFC 6455, section 5.2). The plain forms are in _wire/frames.py. */

#include "speed.h"

#include <stdint.h>
#include <string.h>

/* The bytes before an unmasked payload; as `len(header(first, length))`. Cannot fail. */
static Py_ssize_t
header_size(Py_ssize_t length)
{
    return length <= MAX_SHORT ? 2 : length < 0x10000 ? 4 : 10;
}

/* A whole message as one frame, header and payload: what text_frame() and binary_frame() have in common. */
static PyObject *
build(unsigned char first, PyObject *payload)
{
    char *data;
    Py_ssize_t length, start;
    unsigned char *frame;
    PyObject *result;

    if (PyBytes_AsStringAndSize(payload, &data, &length) < 0)
        return NULL;
    start = header_size(length);
    result = PyBytes_FromStringAndSize(NULL, start + length);
    if (result == NULL)
        return NULL;
    frame = (unsigned char *)PyBytes_AsString(result);
    frame[0] = first;
    if (start == 2) {
        frame[1] = (unsigned char)length;
    } else {
        frame[1] = start == 4 ? TWO_BYTES : EIGHT_BYTES;
        for (Py_ssize_t index = start - 1, rest = length; index >= 2; index--, rest >>= 8)
            frame[index] = (unsigned char)rest;
    }
    memcpy(frame + start, data, (size_t)length);
    return result;
}

const char text_frame_doc[] = "text_frame(payload, /)\n--\n\nReturn a whole text message as one frame.";

/* As `plain_text_frame`. */
PyObject *
text_frame(PyObject *module, PyObject *payload)
{
    (void)module;
    return build(FINAL_TEXT, payload);
}

const char binary_frame_doc[] = "binary_frame(payload, /)\n--\n\nReturn a whole binary message as one frame.";

/* As `plain_binary_frame`. */
PyObject *
binary_frame(PyObject *module, PyObject *payload)
{
    (void)module;
    return build(FINAL_BINARY, payload);
}

const char mask_frame_doc[] = "mask_frame(frame, key, /)\n--\n\nReturn a frame as a client's, masked with key.";

/* As `plain_mask_frame`; ValueError for a key that is not 4 bytes, and for a frame that ends within its header, for
   nothing may be read beyond it. */
PyObject *
mask_frame(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    char *data, *key;
    const unsigned char *frame;
    Py_ssize_t size, key_size, start;
    unsigned char *masked;
    PyObject *result;

    (void)module;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "mask_frame expects 2 arguments, not %zd", count);
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[0], &data, &size) < 0 || PyBytes_AsStringAndSize(args[1], &key, &key_size) < 0)
        return NULL;
    if (key_size != KEY) {
        PyErr_Format(PyExc_ValueError, "mask_frame expects key to be 4 bytes, not %zd", key_size);
        return NULL;
    }
    frame = (const unsigned char *)data;
    start = size < 2 ? size + 1 : frame[1] <= MAX_SHORT ? 2 : frame[1] == TWO_BYTES ? 4 : 10;
    if (size < start) {
        PyErr_SetString(PyExc_ValueError, "mask_frame expects a whole frame");
        return NULL;
    }
    result = PyBytes_FromStringAndSize(NULL, size + KEY);
    if (result == NULL)
        return NULL;
    masked = (unsigned char *)PyBytes_AsString(result);
    memcpy(masked, frame, (size_t)start);
    masked[1] |= MASKED;
    memcpy(masked + start, key, KEY);
    apply_mask(masked + start + KEY, frame + start, size - start, (unsigned char *)key);
    return result;
}
