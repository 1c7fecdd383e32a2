/* The same bytes sent to many sockets. The plain form is `send_all` in _multicast.py.

   It saves a seventh of what a publish to 1,000 costs, though nearly all of that is the kernel's. */

#include "speed.h"

#include <sys/types.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL /* macOS has none: there Python ignores SIGPIPE for all of the process */
#define MSG_NOSIGNAL 0
#endif

const char send_all_doc[] =
    "send_all(sockets, data, /)\n--\n\nSend data to each; return (index, bytes taken) of those that did not take all.";

/* How many of the bytes a socket took: none if it is closed, broken or full, as where Python's `send` raises OSError.
   -1 with an exception if it is no socket at all. The descriptor is asked for each time, for one that was kept might be
   somebody else's by now. */
static Py_ssize_t
send_once(PyObject *sock, const char *data, Py_ssize_t size)
{
    int descriptor = PyObject_AsFileDescriptor(sock);
    ssize_t taken;

    if (descriptor < 0) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear(); /* it is closed */
        return 0;
    }
    /* It does not wait, so there is no reason to let go of the interpreter. */
    taken = send(descriptor, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return taken < 0 ? 0 : (Py_ssize_t)taken;
}

/* As the plain `send_all`; IndexError if the list becomes shorter meanwhile. */
PyObject *
send_all(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    char *data;
    Py_ssize_t size, sockets;
    PyObject *refused;

    (void)module;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "send_all expects 2 arguments, not %zd", count);
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[1], &data, &size) < 0)
        return NULL;
    sockets = PyList_Size(args[0]);
    if (sockets < 0)
        return NULL;
    refused = PyList_New(0);
    if (refused == NULL)
        return NULL;
    for (Py_ssize_t index = 0; index < sockets; index++) {
        PyObject *sock = PyList_GetItem(args[0], index); /* borrowed; NULL if the list has become shorter */
        Py_ssize_t taken;
        PyObject *pair;
        int failed;

        Py_XINCREF(sock);
        taken = sock == NULL ? -1 : send_once(sock, data, size);
        Py_XDECREF(sock);
        if (taken == size)
            continue;
        pair = taken < 0 ? NULL : Py_BuildValue("(nn)", index, taken);
        failed = pair == NULL || PyList_Append(refused, pair) < 0;
        Py_XDECREF(pair);
        if (failed) {
            Py_DECREF(refused);
            return NULL;
        }
    }
    return refused;
}
