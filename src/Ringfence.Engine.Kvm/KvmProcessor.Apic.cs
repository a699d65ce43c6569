using Ringfence.Cpu;
using Ringfence.Cpu.Apic;
using Ringfence.Engine.Kvm.Native;
using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// The local APIC where the kernel can have it. While it does (<see cref="KernelChip.Held"/>), ours is parked: it holds nothing but the wire from the 8259 pair, which is
/// ours where the APICs alone are the kernel's.
/// </summary>
internal sealed unsafe partial class KvmProcessor
{
    private const uint BaseMsr = 0x1B;
    private const uint DeadlineMsr = 0x6E0;
    private const uint LvtMasked = 1 << 16;
    private const uint LvtExternal = 7 << 8;
    private const int Words = 8;
    private const int LvtEntries = 6;
    private const uint Periodic = 1;
    private const uint Deadline = 2;
    private const byte NotMasked = 0;

    private readonly KernelChip? _chip;
    private readonly IRunnerVcpu _owner;
    /// <summary>How often the kernel was entered.</summary>
    private long _entries;
    private long _entriesSeen;
    private long _ends;
    private ulong _kernelCr8;
    private ulong _kernelApicBase;
    /// <summary>The initial count of a one-shot timer that has expired: told of it, the kernel would start it again.</summary>
    private uint _expiredCount;

    /// <summary>Held in the kernel, and on the way there.</summary>
    public Lock Entry { get; } = new();

    public bool SleepsInside => Held;

    private bool Held => _chip is { Held: true };

    public void Enter()
    {
        try
        {
            FollowClock();
            if (_chip is null)
            {
                return;
            }
            if (_machine.OwnCode)
            {
                _chip.Take(forGood: false);
            }
            else
            {
                _chip.Give();
            }
        }
        catch (KvmException refused)
        {
            throw new GuestRunnerException(refused.Message);
        }
    }

    public void ShowApic()
    {
        if (Held)
        {
            _chip!.Alone(() =>
            {
                _owner.Activity = ReadActivity();
                _processor.Apic.Restore(ReadApic());
            });
        }
    }

    public void HideApic()
    {
        if (Held)
        {
            _chip!.Alone(Park);
        }
    }

    public void Loaded()
    {
        if (Held)
        {
            _chip!.Alone(GiveApic);
            _chip.Revive();
        }
    }

    public bool TryAccept(DeliveryMode mode, byte vector, bool levelTriggered)
    {
        if (!Held || mode == DeliveryMode.External)
        {
            return false;
        }
        _chip!.Send(vector, (byte)mode, false, (byte)_processor.ApicId, levelTriggered);
        return true;
    }

    /// <summary>To the kernel. The vCPU does not run.</summary>
    public void GiveApic()
    {
        _owner.TakeStartUp();
        WriteApic(_processor.Apic.Save());
        _vcpu.Activity = _owner.Activity switch
        {
            VcpuActivity.Halted => KvmActivity.Halted,
            VcpuActivity.WaitingForSipi => KvmActivity.InitReceived,
            _ => KvmActivity.Runnable,
        };
        Park();
    }

    /// <summary>From the kernel, where nothing is left that could disturb. The vCPU is not in there.</summary>
    public void TakeApic()
    {
        _owner.Activity = ReadActivity();
        if (_owner.Activity == VcpuActivity.Halted)
        {
            // What can wake it depends on its flags.
            Fetch(StateGroups.Core);
        }
        _processor.Apic.Restore(ReadApic());
        KvmLocalApic quiet = default;
        quiet[0x20] = (uint)_processor.ApicId << 24;
        quiet[0xE0] = uint.MaxValue;
        quiet[0xF0] = 0xFF;
        for (int i = 0; i < LvtEntries; i++)
        {
            quiet[0x320 + (i << 4)] = LvtMasked;
        }
        _vcpu.LocalApic = quiet;
        _vcpu.Activity = KvmActivity.Runnable;
        Interlocked.Or(ref _s->Attention, Attentions.Interrupt);
    }

    /// <summary>Whether ours, having come from the kernel, has an interrupt requested or in service.</summary>
    public bool Has(byte vector)
    {
        LocalApicState apic = _processor.Apic.Save();
        return (((apic.Request[vector >> 5] | apic.Service[vector >> 5]) >> (vector & 31)) & 1) != 0;
    }

    /// <summary>Whether it has been in the kernel since this was asked last.</summary>
    public bool HasStayed()
    {
        long entries = Volatile.Read(ref _entries);
        bool stayed = Volatile.Read(ref _inside) != 0 && entries == _entriesSeen;
        _entriesSeen = entries;
        return stayed;
    }

    /// <summary>Whether another vCPU alone could wake it. It has just come out of the kernel.</summary>
    public bool IsStoppedForGood()
    {
        if ((Volatile.Read(ref _s->Attention) & (Attentions.Exit | Attentions.AnyNmi)) != 0)
        {
            return false;
        }
        switch (ReadActivity())
        {
            case VcpuActivity.WaitingForSipi:
                return true;
            case VcpuActivity.Halted:
                KvmEvents events = _vcpu.Events;
                return _run->InterruptFlag == 0 && events.NmiInjected == 0 && (events.NmiPending == 0 || events.NmiMasked != NotMasked);
            default:
                return false;
        }
    }

    private VcpuActivity ReadActivity()
    {
        // The kernel acts on INIT and SIPI when it is asked: what is on the way to its registers must be there before.
        FlushPage();
        return _vcpu.Activity switch
        {
            KvmActivity.Uninitialized or KvmActivity.InitReceived => VcpuActivity.WaitingForSipi,
            KvmActivity.Halted => VcpuActivity.Halted,
            _ => VcpuActivity.Active,
        };
    }

    /// <summary>Gives the kernel what the page has for it.</summary>
    private void FlushPage()
    {
        KvmSync dirty = _run->DirtyRegisters;
        _run->DirtyRegisters = KvmSync.None;
        if ((dirty & KvmSync.Registers) != 0)
        {
            _vcpu.WriteRegisters(_run->Registers);
        }
        if ((dirty & KvmSync.System) != 0)
        {
            _vcpu.SystemRegisters2 = new KvmSystemRegisters2 { Head = _run->System.Head };
        }
        if ((dirty & KvmSync.Events) != 0)
        {
            _vcpu.Events = _run->Events;
        }
    }

    private void Park()
    {
        LocalApicState apic = _processor.Apic.Save();
        uint[] entries = [.. Enumerable.Repeat(LvtMasked, LvtEntries)];
        // LINT0, in order that the wire is noticed.
        entries[3] = _chip!.IsWhole ? LvtMasked : LvtExternal;
        _owner.Activity = VcpuActivity.Active;
        _processor.Apic.Restore(new LocalApicState(
            apic.Base, apic.Id, 0, 0, uint.MaxValue, 0x1FF, 0, 0, 0, new uint[Words], new uint[Words], new uint[Words], entries, 0, 0, 0, false, 0, apic.ExternalInterrupt,
            apic.ExternalMessage));
    }

    /// <summary>The kernel's, with our wire.</summary>
    private LocalApicState ReadApic()
    {
        // The deadline first: what expires between is then there twice, which is once.
        Span<KvmMsr> msrs = [new KvmMsr { Index = BaseMsr }, new KvmMsr { Index = DeadlineMsr }];
        _vcpu.ReadMsrs(msrs);
        KvmLocalApic kernel = _vcpu.LocalApic;
        LocalApicState ours = _processor.Apic.Save();
        uint[] entries = [.. Enumerable.Range(0, LvtEntries).Select(i => kernel[0x320 + (i << 4)])];
        uint mode = (entries[0] >> 17) & 3;
        uint initial = kernel[0x380];
        uint current = kernel[0x390];
        bool counts = mode == Periodic ? initial != 0 : mode != Deadline && current != 0;
        long past = (initial - (long)current) * Divider(kernel[0x3E0]);
        return new LocalApicState(
            msrs[0].Value, kernel[0x20], kernel[0x80], kernel[0xD0], kernel[0xE0], kernel[0xF0], kernel[0x280], 0, kernel[0x300] | ((ulong)kernel[0x310] << 32),
            Read(0x200), Read(0x100), Read(0x180), entries, kernel[0x3E0], initial != 0 ? initial : _expiredCount, _processor.Apic.TimerNow - past, counts, msrs[1].Value,
            ours.ExternalInterrupt, ours.ExternalMessage);

        uint[] Read(int offset) => [.. Enumerable.Range(0, Words).Select(i => kernel[offset + (i << 4)])];
    }

    private void WriteApic(LocalApicState apic)
    {
        Span<KvmMsr> apicBase = [new KvmMsr { Index = BaseMsr, Value = apic.Base }];
        _vcpu.WriteMsrs(apicBase);
        _kernelApicBase = apic.Base;
        _kernelCr8 = apic.TaskPriority >> 4;
        KvmLocalApic kernel = default;
        (kernel[0x20], kernel[0x80], kernel[0xD0], kernel[0xE0]) = (apic.Id, apic.TaskPriority, apic.LogicalDestination, apic.DestinationFormat);
        (kernel[0xF0], kernel[0x280], kernel[0x300], kernel[0x310]) = (apic.Spurious, apic.ErrorStatus, (uint)apic.Command, (uint)(apic.Command >> 32));
        for (int i = 0; i < Words; i++)
        {
            (kernel[0x200 + (i << 4)], kernel[0x100 + (i << 4)], kernel[0x180 + (i << 4)]) = (apic.Request[i], apic.Service[i], apic.Trigger[i]);
        }
        for (int i = 0; i < LvtEntries; i++)
        {
            kernel[0x320 + (i << 4)] = apic.LocalVectors[i];
        }
        kernel[0x3E0] = apic.DivideConfiguration;
        uint mode = (apic.LocalVectors[0] >> 17) & 3;
        _expiredCount = 0;
        if (mode != Deadline && apic.TimerArmed)
        {
            long past = (_processor.Apic.TimerNow - apic.TimerStart) / Divider(apic.DivideConfiguration);
            kernel[0x380] = apic.InitialCount;
            kernel[0x390] = (uint)Math.Clamp(apic.InitialCount - past, 1, apic.InitialCount);
        }
        else if (mode != Deadline)
        {
            _expiredCount = apic.InitialCount;
        }
        for (int vector = 0; vector < Words * 32; vector++)
        {
            uint bit = 1u << (vector & 31);
            if ((apic.Trigger[vector >> 5] & (apic.Request[vector >> 5] | apic.Service[vector >> 5]) & bit) != 0)
            {
                _chip!.NoteLevel((byte)vector);
            }
        }
        _vcpu.LocalApic = kernel;
        if (mode == Deadline)
        {
            Span<KvmMsr> deadline = [new KvmMsr { Index = DeadlineMsr, Value = apic.TscDeadline }];
            _vcpu.WriteMsrs(deadline);
        }
    }

    /// <summary>SDM 3A figure 11-10.</summary>
    private static long Divider(uint configuration)
    {
        uint code = (configuration & 3) | ((configuration >> 1) & 4);
        return code == 7 ? 1 : 2L << (int)code;
    }

    /// <summary>One instruction of ours, which may be one that accesses the local APIC.</summary>
    private RunResult StepWithApic()
    {
        _chip!.Alone(() => _processor.Apic.Restore(ReadApic()));
        long writes = _processor.CountOf(ExitKind.ApicWrite);
        RunResult result = Step();
        _chip.Alone(() =>
        {
            if (_processor.CountOf(ExitKind.ApicWrite) != writes)
            {
                LocalApicState apic = _processor.Apic.Save();
                LocalApicState kernel = ReadApic();
                for (int i = 0; i < Words; i++)
                {
                    apic.Request[i] |= kernel.Request[i];
                    apic.Trigger[i] |= kernel.Trigger[i] & kernel.Request[i];
                }
                WriteApic(apic);
            }
            Park();
        });
        return result;
    }

    /// <summary>The 8259 pair's interrupt goes in as one that is being delivered: unlike one that is only asked for, it can be taken back from the kernel.</summary>
    private void InjectExternal(byte vector)
    {
        KvmEvents events = _vcpu.Events;
        events.Flags = 0;
        events.InterruptInjected = 1;
        events.InterruptVector = vector;
        events.InterruptSoft = 0;
        _vcpu.Events = events;
        if (_vcpu.Activity == KvmActivity.Halted)
        {
            _vcpu.Activity = KvmActivity.Runnable;
        }
    }

    /// <summary>NMIs that wait in the kernel wait here now.</summary>
    private void TakeNmis()
    {
        const uint PendingIsValid = 1;
        if (Held && _run->Events.NmiPending != 0)
        {
            KvmEvents events = _vcpu.Events;
            events.Flags = PendingIsValid;
            events.NmiPending = 0;
            _vcpu.Events = events;
        }
    }
}
