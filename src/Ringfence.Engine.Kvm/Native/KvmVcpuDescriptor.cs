namespace Ringfence.Engine.Kvm.Native;

/// <summary>A vCPU of KVM's, and the page that it shares with us.</summary>
internal sealed unsafe class KvmVcpuDescriptor : KvmDescriptor
{
    private const uint TscGroup = 0;
    private const ulong TscOffsetAttribute = 0;
    private const int ListHeader = 8;

    private readonly nuint _size;
    private KvmRun* _run;

    public KvmVcpuDescriptor(int descriptor, int index, int runSize)
        : base(descriptor, $"vCPU {index}")
    {
        _size = (nuint)runSize;
        _run = (KvmRun*)KvmCalls.Map(descriptor, _size);
        if (_run == null)
        {
            int error = KvmCalls.LastError();
            Dispose();
            throw Refused("map its page", error);
        }
    }

    /// <summary>Valid until <see cref="KvmDescriptor.Dispose()"/>.</summary>
    public KvmRun* Page => _run;

    /// <summary>0, or the error's number: that guest code was interrupted is no failure.</summary>
    public int Run() => KvmCalls.Control(Number, KvmRequest.Run, 0) < 0 ? KvmCalls.LastError() : 0;

    /// <summary>A message for an error of <see cref="Run"/>.</summary>
    public KvmException RunRefused(int error) => Refused("run guest code", error);

    public void Interrupt(uint vector) => Write(KvmRequest.Interrupt, vector, $"take interrupt {vector}");

    public void Nmi() => Ask(KvmRequest.Nmi, 0, "take an NMI");

    public void WriteRegisters(in KvmRegisters registers) => Write(KvmRequest.SetRegisters, registers, "take general registers");

    public KvmEvents Events
    {
        get => Read<KvmEvents>(KvmRequest.GetEvents, "tell what is pending");
        set => Write(KvmRequest.SetEvents, value, "take what is pending");
    }

    /// <summary>The registers of its local APIC, if the kernel has it.</summary>
    public KvmLocalApic LocalApic
    {
        get => Read<KvmLocalApic>(KvmRequest.GetLocalApic, "tell its local APIC");
        set => Write(KvmRequest.SetLocalApic, value, "take a local APIC");
    }

    /// <summary>Whether it runs, is halted or waits, if the kernel sees to that.</summary>
    public KvmActivity Activity
    {
        get => Read<KvmActivity>(KvmRequest.GetActivity, "tell whether it is halted");
        set => Write(KvmRequest.SetActivity, value, $"be {value}");
    }

    public void ReadXsave(byte* area) => Ask(KvmRequest.GetXsave, (nuint)area, "tell its extended state");

    public void WriteXsave(byte* area) => Ask(KvmRequest.SetXsave, (nuint)area, "take an extended state");

    /// <summary>XCR0.</summary>
    public ulong Xcr0
    {
        get
        {
            KvmXcrs all = Read<KvmXcrs>(KvmRequest.GetXcrs, "tell its extended control registers");
            return all.Count == 0 ? 1 : all.Registers[0].Value;
        }
        set
        {
            KvmXcrs all = new() { Count = 1 };
            all.Registers[0].Value = value;
            Write(KvmRequest.SetXcrs, all, $"take XCR0 = 0x{value:x}");
        }
    }

    public KvmDebugRegisters DebugRegisters
    {
        get => Read<KvmDebugRegisters>(KvmRequest.GetDebugRegisters, "tell its debug registers");
        set => Write(KvmRequest.SetDebugRegisters, value, "take debug registers");
    }

    public KvmSystemRegisters2 SystemRegisters2
    {
        get => Read<KvmSystemRegisters2>(KvmRequest.GetSystemRegisters2, "tell its system registers");
        set => Write(KvmRequest.SetSystemRegisters2, value, "take system registers");
    }

    /// <summary>Reads MSRs into the values of <paramref name="msrs"/>.</summary>
    public void ReadMsrs(Span<KvmMsr> msrs) => TransferMsrs(KvmRequest.GetMsrs, msrs, "tell");

    public void WriteMsrs(Span<KvmMsr> msrs) => TransferMsrs(KvmRequest.SetMsrs, msrs, "take");

    /// <summary>Whether the kernel keeps a certain MSR.</summary>
    public bool HasMsr(uint index)
    {
        try
        {
            Span<KvmMsr> one = [new KvmMsr { Index = index }];
            ReadMsrs(one);
            return true;
        }
        catch (KvmException)
        {
            return false;
        }
    }

    public void SetCpuid(ReadOnlySpan<KvmCpuidEntry> entries)
    {
        byte* list = stackalloc byte[ListHeader + (entries.Length * sizeof(KvmCpuidEntry))];
        *(ulong*)list = (uint)entries.Length;
        entries.CopyTo(new Span<KvmCpuidEntry>(list + ListHeader, entries.Length));
        Ask(KvmRequest.SetCpuid, (nuint)list, "take CPUID's answers");
    }

    /// <summary>What its time-stamp counter counts, in kHz.</summary>
    public int TscKilohertz
    {
        get => Ask(KvmRequest.GetTscKilohertz, 0, "tell its time-stamp counter's frequency");
        set => Ask(KvmRequest.SetTscKilohertz, (nuint)value, $"count time stamps at {value} kHz");
    }

    /// <summary>What is added to the host's time-stamp counter.</summary>
    public ulong TscOffset
    {
        get
        {
            ulong offset = 0;
            Write(KvmRequest.GetAttribute, TscOffsetAt(&offset), "tell its time-stamp counter's offset");
            return offset;
        }
        set
        {
            ulong offset = value;
            Write(KvmRequest.SetAttribute, TscOffsetAt(&offset), "offset its time-stamp counter");
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (_run != null)
        {
            KvmCalls.Unmap(_run, _size);
            _run = null;
        }
        base.Dispose(disposing);
    }

    private static KvmAttribute TscOffsetAt(ulong* offset) => new() { Group = TscGroup, Attribute = TscOffsetAttribute, Address = (ulong)offset };

    private void TransferMsrs(KvmRequest request, Span<KvmMsr> msrs, string verb)
    {
        byte* list = stackalloc byte[ListHeader + (msrs.Length * sizeof(KvmMsr))];
        *(ulong*)list = (uint)msrs.Length;
        Span<KvmMsr> entries = new(list + ListHeader, msrs.Length);
        msrs.CopyTo(entries);
        int done = Ask(request, (nuint)list, $"{verb} MSRs");
        if (done != msrs.Length)
        {
            throw new KvmException($"kvm: asked to {verb} MSR {msrs[done].Index:x} (0x{msrs[done].Value:x}): the kernel refuses it");
        }
        entries.CopyTo(msrs);
    }
}
