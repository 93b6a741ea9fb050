/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Memory that becomes executable: files mapped so, and protection changed. The kernel's own list of mappings says what lies there. */
#pragma once
#include "change.h"

struct mapping {
	u64 start, end;
	u64 file;
	u64 flags;
	u64 found;
};

#define VM_GROWSDOWN 0x100


static long look_at_mapping(struct task_struct *task, struct vm_area_struct *vma, struct mapping *m)
{
	m->start = vma->vm_start;
	m->end = vma->vm_end;
	m->file = (u64)vma->vm_file;
	m->flags = vma->vm_flags;
	m->found = 1;
	return 0;
}

/* One test for most calls: whoever maps a file to run it asks for PROT_EXEC. */
ON_EXIT(mmap, KIND_MMAP)
{
	struct mapping m = {};
	struct file_record *r;
	struct scratch *s;
	struct file *file;
	u32 off = sizeof(*r);

	if (!(ARG3(args) & PROT_EXEC) || (ARG4(args) & MAP_ANONYMOUS))
		return 0;
	if (!error_of(result))
		bpf_find_vma(task, result, look_at_mapping, &m, 0);
	file = m.found ? (void *)m.file : file_of(task, ARG5(args)); /* the list of mappings can be locked at this moment */
	if (!file)
		return 0;
	s = begin_file(KIND_MMAP, task);
	if (!s)
		return 0;
	r = (void *)s->data;
	r->flags = ARG3(args);
	describe_file(r, file);
	off = append_file(s, off, file, task);
	return end_file(s, KIND_MMAP, off, result, task);
}

INLINE int protected(struct task_struct *task, u64 start, u64 length, u64 protection, s64 result)
{
	struct mapping m = {};
	struct memory_record *r;
	struct mm_struct *mm;
	struct scratch *s;
	struct file *file;
	u32 off = sizeof(*r);
	u8 form;

	if (!(protection & PROT_EXEC) || outside(task))
		return 0;
	bpf_find_vma(task, start, look_at_mapping, &m, 0);
	s = claim();
	if (!s) {
		lose(KIND_MPROTECT, LOSS_SCRATCH);
		return 0;
	}
	r = (void *)s->data;
	__builtin_memset(r, 0, sizeof(*r));
	r->start = start;
	r->length = length;
	r->protection = protection;
	file = (void *)m.file;
	mm = task->mm;
	if (file) {
		r->region = BPF_CORE_READ(file, f_inode, i_nlink) ? REGION_FILE : REGION_MEMFD;
		r->path_len = append_path(s, off, PATH_MAX, &file->f_path, task, &form);
		r->path_form = form;
		off += r->path_len;
	} else if (m.flags & VM_GROWSDOWN) { /* also a part that was split off */
		r->region = REGION_STACK;
	} else if (m.found && m.start < mm->brk && m.end > mm->start_brk) {
		r->region = REGION_HEAP;
	}
	fill(&r->header, KIND_MPROTECT, off, error_of(result), task);
	return ship(s, KIND_MPROTECT, off);
}

ON_EXIT(mprotect, KIND_MPROTECT)
{
	return protected(task, ARG1(args), ARG2(args), ARG3(args), result);
}

ON_EXIT(pkey_mprotect, KIND_MPROTECT)
{
	return protected(task, ARG1(args), ARG2(args), ARG3(args), result);
}
