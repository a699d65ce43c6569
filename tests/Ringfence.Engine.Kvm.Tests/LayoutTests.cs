using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>Our structures and numbers are the kernel's: with fixed sizes, and compared with the headers of the system where a compiler and they are there.</summary>
public sealed class LayoutTests
{
    /// <summary>Our structure, the kernel's, and fields of both.</summary>
    private static readonly (Type Ours, string Theirs, int Size, (string Ours, string Theirs)[] Fields)[] s_structures =
    [
        (typeof(KvmMemoryRegion), "struct kvm_userspace_memory_region", 32, [("Slot", "slot"), ("Flags", "flags"), ("GuestAddress", "guest_phys_addr"), ("Size", "memory_size"), ("UserAddress", "userspace_addr")]),
        (typeof(KvmRegisters), "struct kvm_regs", 144, [("Rax", "rax"), ("Rbx", "rbx"), ("Rcx", "rcx"), ("Rdx", "rdx"), ("Rsi", "rsi"), ("Rdi", "rdi"), ("Rsp", "rsp"), ("Rbp", "rbp"), ("R8", "r8"), ("R15", "r15"), ("Rip", "rip"), ("Rflags", "rflags")]),
        (typeof(KvmSegment), "struct kvm_segment", 24, [("Base", "base"), ("Limit", "limit"), ("Selector", "selector"), ("Type", "type"), ("Present", "present"), ("Dpl", "dpl"), ("Big", "db"), ("System", "s"), ("Long", "l"), ("Granularity", "g"), ("Available", "avl"), ("Unusable", "unusable")]),
        (typeof(KvmTable), "struct kvm_dtable", 16, [("Base", "base"), ("Limit", "limit")]),
        (typeof(KvmSystemRegisters), "struct kvm_sregs", 312, [("InterruptBitmap", "interrupt_bitmap")]),
        (typeof(KvmSystemHead), "struct kvm_sregs", 280, [("Cs", "cs"), ("Ds", "ds"), ("Es", "es"), ("Fs", "fs"), ("Gs", "gs"), ("Ss", "ss"), ("Tr", "tr"), ("Ldt", "ldt"), ("Gdt", "gdt"), ("Idt", "idt"), ("Cr0", "cr0"), ("Cr2", "cr2"), ("Cr3", "cr3"), ("Cr4", "cr4"), ("Cr8", "cr8"), ("Efer", "efer"), ("ApicBase", "apic_base")]),
        (typeof(KvmSystemRegisters2), "struct kvm_sregs2", 320, [("Flags", "flags"), ("Pointers", "pdptrs")]),
        (typeof(KvmDebugRegisters), "struct kvm_debugregs", 128, [("Address", "db"), ("Dr6", "dr6"), ("Dr7", "dr7"), ("Flags", "flags")]),
        (typeof(KvmEvents), "struct kvm_vcpu_events", 64, [("ExceptionInjected", "exception.injected"), ("ExceptionVector", "exception.nr"), ("ExceptionHasError", "exception.has_error_code"), ("ExceptionPending", "exception.pending"), ("ExceptionError", "exception.error_code"), ("InterruptInjected", "interrupt.injected"), ("InterruptVector", "interrupt.nr"), ("InterruptSoft", "interrupt.soft"), ("InterruptShadow", "interrupt.shadow"), ("NmiInjected", "nmi.injected"), ("NmiPending", "nmi.pending"), ("NmiMasked", "nmi.masked"), ("SipiVector", "sipi_vector"), ("Flags", "flags"), ("SmiSmm", "smi.smm"), ("TripleFaultPending", "triple_fault.pending"), ("ExceptionHasPayload", "exception_has_payload"), ("ExceptionPayload", "exception_payload")]),
        (typeof(KvmXcr), "struct kvm_xcr", 16, [("Number", "xcr"), ("Value", "value")]),
        (typeof(KvmXcrs), "struct kvm_xcrs", 392, [("Count", "nr_xcrs"), ("Flags", "flags"), ("Registers", "xcrs")]),
        (typeof(KvmMsr), "struct kvm_msr_entry", 16, [("Index", "index"), ("Value", "data")]),
        (typeof(KvmCpuidEntry), "struct kvm_cpuid_entry2", 40, [("Leaf", "function"), ("Subleaf", "index"), ("Flags", "flags"), ("Eax", "eax"), ("Ebx", "ebx"), ("Ecx", "ecx"), ("Edx", "edx")]),
        (typeof(KvmEnable), "struct kvm_enable_cap", 104, [("Capability", "cap"), ("Flags", "flags"), ("Arguments", "args")]),
        (typeof(KvmAttribute), "struct kvm_device_attr", 24, [("Flags", "flags"), ("Group", "group"), ("Attribute", "attr"), ("Address", "addr")]),
        (typeof(KvmMsrRange), "struct kvm_msr_filter_range", 24, [("Flags", "flags"), ("Count", "nmsrs"), ("First", "base"), ("Bitmap", "bitmap")]),
        (typeof(KvmMsrFilter), "struct kvm_msr_filter", 392, [("Flags", "flags"), ("Ranges", "ranges")]),
        (typeof(KvmLocalApic), "struct kvm_lapic_state", 1024, [("_registers", "regs")]),
        (typeof(KvmPic), "struct kvm_pic_state", 16, [("Inputs", "last_irr"), ("Requests", "irr"), ("Mask", "imr"), ("InService", "isr"), ("HighestPriority", "priority_add"), ("VectorBase", "irq_base"), ("ReadsInService", "read_reg_select"), ("Poll", "poll"), ("SpecialMask", "special_mask"), ("Expects", "init_state"), ("AutoEoi", "auto_eoi"), ("RotatesOnAutoEoi", "rotate_on_auto_eoi"), ("FullyNested", "special_fully_nested_mode"), ("NeedsIcw4", "init4"), ("LevelTriggered", "elcr"), ("LevelCapable", "elcr_mask")]),
        (typeof(KvmIoApic), "struct kvm_ioapic_state", 216, [("BaseAddress", "base_address"), ("Select", "ioregsel"), ("Id", "id"), ("Requests", "irr"), ("Entries", "redirtbl")]),
        (typeof(KvmIrqChip), "struct kvm_irqchip", 520, [("Number", "chip_id"), ("Pic", "chip.pic"), ("IoApic", "chip.ioapic")]),
        (typeof(KvmIrqLevel), "struct kvm_irq_level", 8, [("Line", "irq"), ("Level", "level")]),
        (typeof(KvmRoute), "struct kvm_irq_routing_entry", 48, [("Line", "gsi"), ("Kind", "type"), ("Flags", "flags"), ("Chip", "u.irqchip.irqchip"), ("Pin", "u.irqchip.pin"), ("AddressLow", "u.msi.address_lo"), ("AddressHigh", "u.msi.address_hi"), ("Data", "u.msi.data")]),
        (typeof(KvmMessage), "struct kvm_msi", 32, [("AddressLow", "address_lo"), ("AddressHigh", "address_hi"), ("Data", "data"), ("Flags", "flags"), ("Device", "devid")]),
        (typeof(KvmIrqFd), "struct kvm_irqfd", 32, [("Descriptor", "fd"), ("Line", "gsi"), ("Flags", "flags"), ("Resample", "resamplefd")]),
        (typeof(KvmIoEventFd), "struct kvm_ioeventfd", 64, [("Match", "datamatch"), ("Address", "addr"), ("Length", "len"), ("Descriptor", "fd"), ("Flags", "flags")]),
        (typeof(KvmDirtyLog), "struct kvm_dirty_log", 16, [("Slot", "slot"), ("Bitmap", "dirty_bitmap")]),
        (typeof(KvmRun), "struct kvm_run", 2352, [("RequestInterruptWindow", "request_interrupt_window"), ("ImmediateExit", "immediate_exit"), ("ExitReason", "exit_reason"), ("ReadyForInterrupt", "ready_for_interrupt_injection"), ("InterruptFlag", "if_flag"), ("Flags", "flags"), ("Cr8", "cr8"), ("ApicBase", "apic_base"), ("Port", "io"), ("Memory", "mmio"), ("Msr", "msr"), ("InternalError", "internal"), ("HardwareReason", "fail_entry.hardware_entry_failure_reason"), ("EndedVector", "eoi.vector"), ("ValidRegisters", "kvm_valid_regs"), ("DirtyRegisters", "kvm_dirty_regs"), ("Registers", "s.regs.regs"), ("System", "s.regs.sregs"), ("Events", "s.regs.events")]),
    ];

    /// <summary>Structures without a name of their own, inside struct kvm_run.</summary>
    private static readonly (Type Ours, string Theirs, (string Ours, string Theirs)[] Fields)[] s_parts =
    [
        (typeof(KvmPortExit), "io", [("IsWrite", "direction"), ("Size", "size"), ("Number", "port"), ("Count", "count"), ("DataOffset", "data_offset")]),
        (typeof(KvmMemoryExit), "mmio", [("Address", "phys_addr"), ("Data", "data"), ("Size", "len"), ("IsWrite", "is_write")]),
        (typeof(KvmMsrExit), "msr", [("Error", "error"), ("Reason", "reason"), ("Index", "index"), ("Value", "data")]),
        (typeof(KvmInternalError), "internal", [("Suberror", "suberror"), ("Count", "ndata"), ("Data", "data")]),
    ];

    private static readonly Dictionary<KvmRequest, string> s_requests = new()
    {
        [KvmRequest.GetApiVersion] = "KVM_GET_API_VERSION", [KvmRequest.CreateVm] = "KVM_CREATE_VM", [KvmRequest.CheckExtension] = "KVM_CHECK_EXTENSION",
        [KvmRequest.GetRunSize] = "KVM_GET_VCPU_MMAP_SIZE", [KvmRequest.GetSupportedCpuid] = "KVM_GET_SUPPORTED_CPUID", [KvmRequest.CreateVcpu] = "KVM_CREATE_VCPU",
        [KvmRequest.SetMemoryRegion] = "KVM_SET_USER_MEMORY_REGION", [KvmRequest.SetTssAddress] = "KVM_SET_TSS_ADDR",
        [KvmRequest.SetIdentityMapAddress] = "KVM_SET_IDENTITY_MAP_ADDR", [KvmRequest.EnableCapability] = "KVM_ENABLE_CAP",
        [KvmRequest.SetMsrFilter] = "KVM_X86_SET_MSR_FILTER", [KvmRequest.Run] = "KVM_RUN", [KvmRequest.Interrupt] = "KVM_INTERRUPT",
        [KvmRequest.GetMsrs] = "KVM_GET_MSRS", [KvmRequest.SetMsrs] = "KVM_SET_MSRS", [KvmRequest.SetCpuid] = "KVM_SET_CPUID2", [KvmRequest.Nmi] = "KVM_NMI",
        [KvmRequest.GetDebugRegisters] = "KVM_GET_DEBUGREGS", [KvmRequest.SetDebugRegisters] = "KVM_SET_DEBUGREGS",
        [KvmRequest.SetTscKilohertz] = "KVM_SET_TSC_KHZ", [KvmRequest.GetTscKilohertz] = "KVM_GET_TSC_KHZ", [KvmRequest.GetXsave] = "KVM_GET_XSAVE",
        [KvmRequest.SetXsave] = "KVM_SET_XSAVE", [KvmRequest.GetXcrs] = "KVM_GET_XCRS", [KvmRequest.SetXcrs] = "KVM_SET_XCRS",
        [KvmRequest.GetSystemRegisters2] = "KVM_GET_SREGS2", [KvmRequest.SetSystemRegisters2] = "KVM_SET_SREGS2",
        [KvmRequest.GetDirtyLog] = "KVM_GET_DIRTY_LOG", [KvmRequest.CreateIrqChip] = "KVM_CREATE_IRQCHIP", [KvmRequest.IrqLine] = "KVM_IRQ_LINE",
        [KvmRequest.GetIrqChip] = "KVM_GET_IRQCHIP", [KvmRequest.SetIrqChip] = "KVM_SET_IRQCHIP", [KvmRequest.SetGsiRouting] = "KVM_SET_GSI_ROUTING",
        [KvmRequest.IrqFd] = "KVM_IRQFD", [KvmRequest.IoEventFd] = "KVM_IOEVENTFD", [KvmRequest.SignalMsi] = "KVM_SIGNAL_MSI", [KvmRequest.SetRegisters] = "KVM_SET_REGS",
        [KvmRequest.GetLocalApic] = "KVM_GET_LAPIC", [KvmRequest.SetLocalApic] = "KVM_SET_LAPIC", [KvmRequest.GetActivity] = "KVM_GET_MP_STATE",
        [KvmRequest.SetActivity] = "KVM_SET_MP_STATE", [KvmRequest.GetEvents] = "KVM_GET_VCPU_EVENTS", [KvmRequest.SetEvents] = "KVM_SET_VCPU_EVENTS",
        [KvmRequest.SetAttribute] = "KVM_SET_DEVICE_ATTR", [KvmRequest.GetAttribute] = "KVM_GET_DEVICE_ATTR",
    };

    private static readonly Dictionary<KvmCapability, string> s_capabilities = new()
    {
        [KvmCapability.IrqChip] = "IRQCHIP", [KvmCapability.Activity] = "MP_STATE", [KvmCapability.IrqRouting] = "IRQ_ROUTING", [KvmCapability.IrqFd] = "IRQFD",
        [KvmCapability.IoEventFd] = "IOEVENTFD", [KvmCapability.SignalMsi] = "SIGNAL_MSI", [KvmCapability.UserMemory] = "USER_MEMORY", [KvmCapability.ExtendedCpuid] = "EXT_CPUID", [KvmCapability.Nmi] = "USER_NMI",
        [KvmCapability.VcpuEvents] = "VCPU_EVENTS", [KvmCapability.DebugRegisters] = "DEBUGREGS", [KvmCapability.Xsave] = "XSAVE", [KvmCapability.Xcrs] = "XCRS",
        [KvmCapability.TscControl] = "TSC_CONTROL", [KvmCapability.MaximumVcpus] = "MAX_VCPUS", [KvmCapability.SyncRegisters] = "SYNC_REGS",
        [KvmCapability.ReadOnlyMemory] = "READONLY_MEM", [KvmCapability.SplitIrqChip] = "SPLIT_IRQCHIP", [KvmCapability.VcpuAttributes] = "VCPU_ATTRIBUTES",
        [KvmCapability.ImmediateExit] = "IMMEDIATE_EXIT", [KvmCapability.UserSpaceMsr] = "X86_USER_SPACE_MSR", [KvmCapability.MsrFilter] = "X86_MSR_FILTER",
        [KvmCapability.SystemRegisters2] = "SREGS2", [KvmCapability.ExitOnEmulationFailure] = "EXIT_ON_EMULATION_FAILURE", [KvmCapability.Xsave2] = "XSAVE2",
    };

    private static readonly Dictionary<KvmExitReason, string> s_reasons = new()
    {
        [KvmExitReason.Unknown] = "UNKNOWN", [KvmExitReason.Exception] = "EXCEPTION", [KvmExitReason.Port] = "IO", [KvmExitReason.Debug] = "DEBUG",
        [KvmExitReason.Halt] = "HLT", [KvmExitReason.Memory] = "MMIO", [KvmExitReason.InterruptWindow] = "IRQ_WINDOW_OPEN", [KvmExitReason.Shutdown] = "SHUTDOWN",
        [KvmExitReason.FailedEntry] = "FAIL_ENTRY", [KvmExitReason.Interrupted] = "INTR", [KvmExitReason.TaskPriority] = "SET_TPR",
        [KvmExitReason.InternalError] = "INTERNAL_ERROR", [KvmExitReason.SystemEvent] = "SYSTEM_EVENT", [KvmExitReason.MsrRead] = "X86_RDMSR",
        [KvmExitReason.MsrWrite] = "X86_WRMSR", [KvmExitReason.EndOfInterrupt] = "IOAPIC_EOI",
    };

    [Fact]
    public void StructuresHaveTheSizesOfTheInterface()
    {
        foreach ((Type ours, _, int size, _) in s_structures)
        {
            Assert.Equal((ours.Name, size), (ours.Name, SizeOf(ours)));
        }
    }

    [Fact]
    public void EverythingIsAsTheSystemsHeadersHaveIt()
    {
        const string Header = "/usr/include/linux/kvm.h";
        Assert.SkipUnless(File.Exists(Header), $"{Header} is not installed");
        string[] lines = RunProgram(Program());
        List<string> expected = [];
        foreach ((Type ours, string theirs, _, (string, string)[] fields) in s_structures)
        {
            if (ours != typeof(KvmSystemHead))
            {
                expected.Add($"{theirs} {SizeOf(ours)}");
            }
            expected.AddRange(fields.Select(field => $"{theirs} {field.Item2} {OffsetOf(ours, field.Item1)}"));
        }
        foreach ((Type ours, string theirs, (string, string)[] fields) in s_parts)
        {
            expected.AddRange(fields.Select(field => $"{theirs} {field.Item2} {OffsetOf(ours, field.Item1)}"));
        }
        expected.AddRange(s_requests.Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Value} {(uint)r.Key}")));
        expected.AddRange(s_capabilities.Select(c => string.Create(CultureInfo.InvariantCulture, $"KVM_CAP_{c.Value} {(uint)c.Key}")));
        expected.AddRange(s_reasons.Select(c => string.Create(CultureInfo.InvariantCulture, $"KVM_EXIT_{c.Value} {(uint)c.Key}")));
        Assert.Equal(expected, lines);
    }

    [Fact]
    public void EveryNumberIsCompared()
    {
        // Requests whose replies come with the page instead are there for whoever looks at the numbers alone.
        KvmRequest[] uncompared = [.. Enum.GetValues<KvmRequest>().Where(r => !s_requests.ContainsKey(r))];
        Assert.Equal([KvmRequest.GetRegisters, KvmRequest.GetSystemRegisters], uncompared);
        Assert.Equal(Enum.GetValues<KvmCapability>(), s_capabilities.Keys.Order());
        Assert.Equal(Enum.GetValues<KvmExitReason>(), s_reasons.Keys.Order());
    }

    private static int SizeOf(Type type) =>
        (int)typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    private static int OffsetOf(Type type, string field) => (int)Marshal.OffsetOf(type, field);

    private static string Program()
    {
        StringBuilder text = new("#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) {\n");
        void Line(string name, string value) => text.Append(CultureInfo.InvariantCulture, $"printf(\"{name} %llu\\n\", (unsigned long long)({value}));\n");
        foreach ((Type ours, string theirs, _, (string, string)[] fields) in s_structures)
        {
            if (ours != typeof(KvmSystemHead))
            {
                Line(theirs, $"sizeof({theirs})");
            }
            foreach ((_, string field) in fields)
            {
                Line($"{theirs} {field}", $"offsetof({theirs}, {field})");
            }
        }
        foreach ((_, string theirs, (string, string)[] fields) in s_parts)
        {
            foreach ((_, string field) in fields)
            {
                Line($"{theirs} {field}", $"offsetof(struct kvm_run, {theirs}.{field}) - offsetof(struct kvm_run, {theirs})");
            }
        }
        foreach (string name in s_requests.Values.Concat(s_capabilities.Values.Select(c => $"KVM_CAP_{c}")).Concat(s_reasons.Values.Select(c => $"KVM_EXIT_{c}")))
        {
            Line(name, name);
        }
        return text.Append("return 0; }\n").ToString();
    }

    private static string[] RunProgram(string source)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("ringfence");
        try
        {
            string file = Path.Combine(folder.FullName, "layout.c");
            string program = Path.Combine(folder.FullName, "layout");
            File.WriteAllText(file, source);
            (int code, string output) = Run("cc", "-o", program, file);
            Assert.SkipWhen(code == NotInstalled, "no C compiler is installed");
            Assert.True(code == 0, output);
            return Run(program).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        }
        finally
        {
            folder.Delete(true);
        }
    }

    private const int NotInstalled = -1;

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            string errors = "";
            process.ErrorDataReceived += (_, e) => errors += e.Data;
            process.BeginErrorReadLine();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, process.ExitCode == 0 ? output : errors);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return (NotInstalled, "");
        }
    }
}
