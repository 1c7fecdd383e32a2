/* The messages at the front of what was read that are there in full, each in one frame. The plain form is
   `ReadyMessages` in _wire/ready.py, which takes short ones only; what neither takes is the codec's. */

#include "speed.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

#define ON_STACK 1024 /* bytes of text that are unmasked without an allocation */

typedef struct {
    PyObject_HEAD
    PyObject *data; /* owned; it is `bytes`, which refer to nothing, so that there is no cycle to collect */
    Py_ssize_t pos;
    Py_ssize_t end; /* no frame is taken from there on: `stop` has set it to 0 */
    Py_ssize_t limit;
    int masked;
} ReadyMessages;

const char ready_messages_doc[] =
    "ready_messages(data, pos, limit, masked, /)\n--\n\nReturn an iterator over the messages that are there.";

/* As `ReadyMessages(data, pos, limit, masked)`; ValueError for a negative pos. The iterator owns data. */
PyObject *
ready_messages(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    char *unused;
    Py_ssize_t size, pos, limit;
    int masked;
    ReadyMessages *self;

    if (count != 4) {
        PyErr_Format(PyExc_TypeError, "ready_messages expects 4 arguments, not %zd", count);
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[0], &unused, &size) < 0)
        return NULL;
    pos = PyLong_AsSsize_t(args[1]);
    if (pos == -1 && PyErr_Occurred())
        return NULL;
    if (pos < 0) {
        PyErr_SetString(PyExc_ValueError, "ready_messages expects pos not to be negative");
        return NULL;
    }
    limit = PyNumber_AsSsize_t(args[2], NULL); /* one that does not fit is one that nothing reaches */
    if (limit == -1 && PyErr_Occurred())
        return NULL;
    masked = PyObject_IsTrue(args[3]);
    if (masked < 0)
        return NULL;
    self = PyObject_New(ReadyMessages, ((State *)PyModule_GetState(module))->ready_messages);
    if (self == NULL)
        return NULL;
    self->data = Py_NewRef(args[0]);
    self->pos = pos;
    self->end = size;
    self->limit = limit;
    self->masked = masked;
    return (PyObject *)self;
}

/* An instance owns its type too: that is a heap type. */
static void
dealloc(ReadyMessages *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    Py_DECREF(self->data);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* As `unmask(payload, key).decode()`, or `payload.decode()` without a key. NULL without an exception: no UTF-8. */
static PyObject *
read_text(const unsigned char *payload, Py_ssize_t size, const unsigned char *key)
{
    unsigned char on_stack[ON_STACK], *unmasked;
    PyObject *text;

    if (key == NULL) {
        text = PyUnicode_DecodeUTF8((const char *)payload, size, NULL);
    } else {
        unmasked = size <= ON_STACK ? on_stack : PyMem_Malloc((size_t)size);
        if (unmasked == NULL)
            return PyErr_NoMemory();
        apply_mask(unmasked, payload, size, key);
        text = PyUnicode_DecodeUTF8((const char *)unmasked, size, NULL);
        if (unmasked != on_stack)
            PyMem_Free(unmasked);
    }
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return text;
}

/* As `unmask(payload, key)`; a copy if there is no key. */
static PyObject *
read_bytes(const unsigned char *payload, Py_ssize_t size, const unsigned char *key)
{
    PyObject *message = PyBytes_FromStringAndSize(key == NULL ? (const char *)payload : NULL, size);

    if (message != NULL && key != NULL)
        apply_mask((unsigned char *)PyBytes_AsString(message), payload, size, key);
    return message;
}

/* As the next step of `_clients` or `_servers`, but for messages of any length. NULL without an exception ends the
   iteration: nothing is left, `stop` was called, or what is next is no message for here. */
static PyObject *
next_message(ReadyMessages *self)
{
    const unsigned char *frame, *key = NULL;
    Py_ssize_t left = self->end - self->pos, start = 2, extended = 0, length;
    PyObject *message;

    if (left < start)
        return NULL;
    frame = (const unsigned char *)PyBytes_AsString(self->data) + self->pos;
    if ((frame[0] != FINAL_TEXT && frame[0] != FINAL_BINARY) || (frame[1] & MASKED) != (self->masked ? MASKED : 0))
        return NULL;
    length = frame[1] & ~MASKED;
    if (length >= TWO_BYTES) {
        uint64_t declared = 0;

        extended = length == TWO_BYTES ? 2 : 8;
        start += extended;
        if (left < start)
            return NULL;
        for (Py_ssize_t index = 2; index < start; index++)
            declared = declared << 8 | frame[index];
        /* One in a longer form than it needs is left to the codec, as is one that is longer than what is there. */
        if (declared < (extended == 2 ? TWO_BYTES : 0x10000) || declared > (uint64_t)left)
            return NULL;
        length = (Py_ssize_t)declared;
    }
    if (self->masked) {
        key = frame + start;
        start += KEY;
    }
    if (length > self->limit || length > left - start)
        return NULL;
    message = frame[0] == FINAL_TEXT ? read_text(frame + start, length, key) : read_bytes(frame + start, length, key);
    if (message != NULL)
        self->pos += start + length;
    return message;
}

/* As `ReadyMessages.stop`. */
static PyObject *
stop(ReadyMessages *self, PyObject *unused)
{
    (void)unused;
    self->end = 0;
    return PyLong_FromSsize_t(self->pos);
}

static PyMemberDef members[] = {
    {"pos", T_PYSSIZET, offsetof(ReadyMessages, pos), READONLY, "Where the next frame begins."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"stop", (PyCFunction)(void (*)(void))stop, METH_NOARGS, "stop()\n--\n\nEnd the iteration, and return `pos`."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The messages that are there; ready_messages() makes it."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, next_message},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec ready_messages_spec = {
    .name = "trio_bunws._speed.ReadyMessages",
    .basicsize = sizeof(ReadyMessages),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
