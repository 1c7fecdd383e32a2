/* The extension module `trio_bunws._speed`: what is in it. _extension.py imports it, where it is there and wanted. */

#include "speed.h"

/* Through void (*)(void), as METH_FASTCALL's functions take other arguments than a PyCFunction. */
#define FASTCALL(function) {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL, function##_doc}

#define ONE(function) {#function, (PyCFunction)function, METH_O, function##_doc}

static PyMethodDef methods[] = {
    ONE(binary_frame),
    FASTCALL(mask_frame),
    FASTCALL(ready_messages),
    FASTCALL(send_all),
    ONE(text_frame),
    FASTCALL(unmask),
    {NULL, NULL, 0, NULL},
};

/* Make what the module object has: its type, which it owns. -1 with an exception if that fails. */
static int
execute(PyObject *module)
{
    State *state = PyModule_GetState(module);

    state->ready_messages = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ready_messages_spec, NULL);
    return state->ready_messages == NULL ? -1 : 0;
}

/* For the garbage collector: show what the module object owns, let go of it, and let go of it at the end. */
static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(((State *)PyModule_GetState(module))->ready_messages);
    return 0;
}

static int
clear(PyObject *module)
{
    Py_CLEAR(((State *)PyModule_GetState(module))->ready_messages);
    return 0;
}

static void
destroy(void *module)
{
    clear(module);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "trio_bunws._speed",
    .m_doc = "The loops over bytes that CPython is slow at.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = destroy,
};

PyMODINIT_FUNC
PyInit__speed(void)
{
    return PyModuleDef_Init(&definition);
}
