//! The calls into CPython that a cell costs, and nothing else. The safe wrappers of pyo3 take about
//! twice the time, because each makes and drops an owned key.
#![expect(unsafe_code, reason = "rows are built through the C API: it is where a WAL trigger spends its time")]

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use pyo3::{PyErr, ffi};

/// A list whose slots are filled in order.
pub(super) struct NewList<'py> {
    list: Bound<'py, PyList>,
    filled: ffi::Py_ssize_t,
    length: ffi::Py_ssize_t,
}

impl<'py> NewList<'py> {
    pub(super) fn with_length(py: Python<'py>, length: usize) -> PyResult<Self> {
        let length = ffi::Py_ssize_t::try_from(length)?;
        // SAFETY: the interpreter is attached (`py`); a null result is turned into the error that is set.
        let list = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyList_New(length))?.cast_into_unchecked() };
        Ok(Self { list, filled: 0, length })
    }

    pub(super) fn push(&mut self, row: DictRow<'py>) -> PyResult<()> {
        debug_assert!(self.filled < self.length, "more rows than announced");
        // SAFETY: both are live objects; the call takes over the reference to the row, also when it
        // fails, and refuses an index outside the list.
        let status = unsafe { ffi::PyList_SetItem(self.list.as_ptr(), self.filled, row.dict.into_ptr()) };
        self.filled += 1;
        check(self.list.py(), status)
    }

    pub(super) fn finish(self) -> Bound<'py, PyList> {
        debug_assert_eq!(self.filled, self.length, "a slot without a row");
        self.list
    }
}

/// A row that is being filled.
pub(super) struct DictRow<'py> {
    dict: Bound<'py, PyAny>,
}

impl<'py> DictRow<'py> {
    #[inline]
    pub(super) fn new(py: Python<'py>) -> PyResult<Self> {
        // SAFETY: the interpreter is attached (`py`); a null result is turned into the error that is set.
        let dict = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDict_New())? };
        Ok(Self { dict })
    }

    #[inline]
    pub(super) fn py(&self) -> Python<'py> {
        self.dict.py()
    }

    #[inline]
    pub(super) fn set_float(&self, name: &Bound<'py, PyString>, value: f64) -> PyResult<()> {
        // SAFETY: the interpreter is attached; the result is a new reference or null.
        unsafe { self.set_owned(name, ffi::PyFloat_FromDouble(value)) }
    }

    #[inline]
    pub(super) fn set_signed(&self, name: &Bound<'py, PyString>, value: i64) -> PyResult<()> {
        // SAFETY: the interpreter is attached; the result is a new reference or null.
        unsafe { self.set_owned(name, ffi::PyLong_FromLongLong(value)) }
    }

    #[inline]
    pub(super) fn set_unsigned(&self, name: &Bound<'py, PyString>, value: u64) -> PyResult<()> {
        // SAFETY: the interpreter is attached; the result is a new reference or null.
        unsafe { self.set_owned(name, ffi::PyLong_FromUnsignedLongLong(value)) }
    }

    #[inline]
    pub(super) fn set_str(&self, name: &Bound<'py, PyString>, value: &str) -> PyResult<()> {
        let length = ffi::Py_ssize_t::try_from(value.len())?;
        // SAFETY: pointer and length are those of a live `str`, which is UTF-8; the result is a new reference or null.
        unsafe { self.set_owned(name, ffi::PyUnicode_FromStringAndSize(value.as_ptr().cast(), length)) }
    }

    #[inline]
    pub(super) fn set_boolean(&self, name: &Bound<'py, PyString>, value: bool) -> PyResult<()> {
        // SAFETY: `True` and `False` live as long as the interpreter.
        unsafe { self.set_borrowed(name, if value { ffi::Py_True() } else { ffi::Py_False() }) }
    }

    #[inline]
    pub(super) fn set_none(&self, name: &Bound<'py, PyString>) -> PyResult<()> {
        // SAFETY: `None` lives as long as the interpreter.
        unsafe { self.set_borrowed(name, ffi::Py_None()) }
    }

    #[inline]
    pub(super) fn set_object(&self, name: &Bound<'py, PyString>, value: &Bound<'py, PyAny>) -> PyResult<()> {
        // SAFETY: `value` is a live object.
        unsafe { self.set_borrowed(name, value.as_ptr()) }
    }

    /// # Safety
    /// `value` is a new reference, or null with an exception set.
    #[inline]
    unsafe fn set_owned(&self, name: &Bound<'py, PyString>, value: *mut ffi::PyObject) -> PyResult<()> {
        if value.is_null() {
            return Err(PyErr::fetch(self.py()));
        }
        // SAFETY: `value` is a live object, and the one reference that is given up here was handed in.
        unsafe {
            let result = self.set_borrowed(name, value);
            ffi::Py_DECREF(value);
            result
        }
    }

    /// # Safety
    /// `value` is a live object.
    #[inline]
    unsafe fn set_borrowed(&self, name: &Bound<'py, PyString>, value: *mut ffi::PyObject) -> PyResult<()> {
        // SAFETY: the dictionary and the key are live; the call takes references of its own.
        let status = unsafe { ffi::PyDict_SetItem(self.dict.as_ptr(), name.as_ptr(), value) };
        check(self.py(), status)
    }
}

#[inline]
fn check(py: Python<'_>, status: std::ffi::c_int) -> PyResult<()> {
    if status == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}
