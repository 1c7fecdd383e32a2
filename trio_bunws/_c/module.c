/* The extension module `trio_bunws._speed`: what is in it. _extension.py imports it, where it is there and wanted. */

#include "speed.h"

/* Through void (*)(void), as METH_FASTCALL's functions take other arguments than a PyCFunction. */
#define FASTCALL(function) {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL, function##_doc}

static PyMethodDef methods[] = {
    FASTCALL(unmask),
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "trio_bunws._speed",
    .m_doc = "The loops over bytes that CPython is slow at.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__speed(void)
{
    return PyModuleDef_Init(&definition);
}
