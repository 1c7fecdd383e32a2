/* Masks put on and taken off (RFC 6455, section 5.3). The plain form is `unmask` in _wire/frames.py. */

#include "speed.h"

#include <stdint.h>
#include <string.h>

/* XOR `size` bytes with the repeated key, as `_xor`; `out` and `in` must not overlap. No object, and no error. */
void
apply_mask(unsigned char *restrict out, const unsigned char *restrict in, Py_ssize_t size, const unsigned char key[KEY])
{
    const Py_ssize_t blocks = size / 8;
    uint32_t word;
    uint64_t mask, block;

    /* By memcpy, for neither side is aligned. So written, compilers make one instruction of several blocks. */
    memcpy(&word, key, sizeof(word));
    mask = ((uint64_t)word << 32) | word;
    for (Py_ssize_t index = 0; index < blocks; index++) {
        memcpy(&block, in + 8 * index, sizeof(block));
        block ^= mask;
        memcpy(out + 8 * index, &block, sizeof(block));
    }
    for (Py_ssize_t index = 8 * blocks; index < size; index++)
        out[index] = in[index] ^ key[index & 3];
}

const char unmask_doc[] = "unmask(data, key, offset, /)\n--\n\nReturn data with the mask taken off, or put on.";

/* As `unmask` in Python for any key, also one of zeros; ValueError for a key that is not 4 bytes. */
PyObject *
unmask(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    char *data, *key;
    Py_ssize_t size, key_size, offset;
    unsigned char turned[KEY];
    PyObject *result;

    (void)module;
    if (count != 3) {
        PyErr_Format(PyExc_TypeError, "unmask expects 3 arguments, not %zd", count);
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[0], &data, &size) < 0 || PyBytes_AsStringAndSize(args[1], &key, &key_size) < 0)
        return NULL;
    offset = PyLong_AsSsize_t(args[2]);
    if (offset == -1 && PyErr_Occurred())
        return NULL;
    if (key_size != KEY) {
        PyErr_Format(PyExc_ValueError, "unmask expects key to be 4 bytes, not %zd", key_size);
        return NULL;
    }
    result = PyBytes_FromStringAndSize(NULL, size);
    if (result == NULL)
        return NULL;
    for (int index = 0; index < KEY; index++)
        turned[index] = (unsigned char)key[(offset + index) & 3];
    apply_mask((unsigned char *)PyBytes_AsString(result), (const unsigned char *)data, size, turned);
    return result;
}
