using System.Runtime.InteropServices;
using Ringfence.Cpu;
using Ringfence.Cpu.Models;
using Ringfence.Engine.Kvm.Native;
using Ringfence.Engine.Software;
using Ringfence.Host;

namespace Ringfence.Engine.Kvm;

/// <summary>What the vCPUs of one machine have in common: the kernel's virtual machine with its memory, and time.</summary>
internal sealed unsafe class KvmMachine : IGuestRunnerFactory, IDisposable
{
    /// <summary>Below the test device, above the APICs: nothing of the board is there.</summary>
    private const ulong HelperPages = 0xFEFF_C000;
    private const ulong ShadowPage = HelperPages - 4096;
    private const uint ShadowSlot = 8;
    private const ulong InvalidUnknownAndFiltered = 7;

    /// <summary>MSRs that belong to the processor that runs guest code. All others are ours: memory types, TSC and its adjustment, the APIC's.</summary>
    private static readonly (uint First, uint Count)[] s_kernelMsrs =
        [(0x48, 2), (0x174, 3), (0x277, 1), (0xDA0, 1), (0xC000_0080, 5), (0xC000_0100, 4)];

    /// <summary>The kernel's with its local APICs: their base, and the timer's deadline.</summary>
    private static readonly (uint First, uint Count)[] s_apicMsrs = [(0x1B, 1), (0x6E0, 1)];

    private readonly KvmVmDescriptor _vm;
    private readonly KvmVcpuDescriptor[] _vcpus;
    private readonly KvmHostTraits _traits;
    private readonly GuestMemory _memory;
    private readonly Lock _shadowGate = new();
    /// <summary>Real memory for <see cref="ShadowPage"/>.</summary>
    private readonly void* _shadowPage = NativeMemory.AlignedAlloc((nuint)GuestMemory.PageSize, (nuint)GuestMemory.PageSize);
    private int _generation;
    private int _wantingStops;
    private volatile bool _ownCodeRan;
    private volatile bool _ownCode;

    public KvmMachine(KvmSystem system, VmOptions options, CpuModel model, KvmHostTraits traits, InterruptChip chip)
    {
        HostClock = options.Clock;
        _memory = options.Memory;
        _traits = traits;
        _vcpus = new KvmVcpuDescriptor[options.Vcpus];
        _vm = system.CreateVm();
        try
        {
            _vm.SetHelperPages(HelperPages);
            if (traits.TellsEmulationFailures)
            {
                _vm.Enable(KvmCapability.ExitOnEmulationFailure, 1);
            }
            _vm.Enable(KvmCapability.UserSpaceMsr, InvalidUnknownAndFiltered);
            _vm.AllowMsrs(chip == InterruptChip.User ? s_kernelMsrs : [.. s_kernelMsrs, .. s_apicMsrs]);
            MapMemory();
            if (chip != InterruptChip.User)
            {
                Chip = new KernelChip(_vm, chip, options.Chips, options.Bus.EndOfInterrupt);
            }
            int size = system.RunSize;
            for (int i = 0; i < _vcpus.Length; i++)
            {
                _vcpus[i] = _vm.CreateVcpu(i, size);
            }
            ClockHertz = ScaleTime(out TscScale scale);
            Tsc = new TscClock(HostClock, ClockHertz, scale, traits.TscOffsets);
            Model = KvmCpuid.Filter(model, traits);
            for (int i = 0; i < _vcpus.Length; i++)
            {
                _vcpus[i].SetCpuid(KvmCpuid.Entries(Model, i, _vcpus.Length, ClockHertz, Chip is null ? ClockHertz : Processor.TscHertz));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The model that was asked for, as it can be on this host.</summary>
    public CpuModel Model { get; }

    /// <summary>What guests' time-stamp counters count.</summary>
    public TscClock Tsc { get; }

    public IClock Clock => Tsc;

    public bool CountersAreSteady => _traits.TscOffsets != TscOffsets.Steered;

    public long ClockHertz { get; }

    /// <summary>The machine's clock.</summary>
    public IClock HostClock { get; }

    /// <summary>The kernel's local APICs count nanoseconds.</summary>
    public IClock ApicClock => Chip is null ? Clock : HostClock;

    /// <summary>The interrupt chips that the kernel can have; null where they are ours.</summary>
    public KernelChip? Chip { get; }

    /// <summary>Whether a guest's time-stamp counter can be another than the host's.</summary>
    public bool TscSettable => _traits.TscOffsets != TscOffsets.Forgotten;

    public KvmHostTraits Traits => _traits;

    /// <summary>Guest code runs in our own at present.</summary>
    public bool OwnCode => _ownCode || Volatile.Read(ref _wantingStops) != 0;

    /// <summary>Our own code runs guest code, or has done what an instruction of the guest's does to memory and translations.</summary>
    public void NoteOwnCode() => _ownCodeRan = true;

    /// <summary>Our own code has changed translations, or may have: what the kernel derived from the guest's page tables is worth nothing. Where it keeps
    /// shadows of them it has not seen what was written. Taking any memory away makes it forget them all: a page that the guest has nothing to do with.</summary>
    public void ForgetTranslations()
    {
        Interlocked.Increment(ref _generation);
        if (!_traits.NestedPaging)
        {
            lock (_shadowGate)
            {
                _vm.SetMemory(ShadowSlot, ShadowPage, GuestMemory.PageSize, (nint)_shadowPage);
                _vm.SetMemory(ShadowSlot, ShadowPage, 0, 0);
            }
        }
    }

    /// <summary>Guest code is to run in our own. Set only while none runs.</summary>
    public bool OwnCodeChosen
    {
        get => _ownCode;
        set
        {
            _ownCode = value;
            ForgetDerived();
        }
    }

    /// <summary>A vCPU's debugger wants stops, or none any more. Only while none runs.</summary>
    public void CountStops(int change)
    {
        Interlocked.Add(ref _wantingStops, change);
        ForgetDerived();
    }

    public IGuestRunner Create(Processor processor, IRunnerVcpu vcpu) => new KvmProcessor(this, _vcpus[processor.ApicId], processor, vcpu);

    public void Dispose()
    {
        Tsc?.Dispose();
        Chip?.Dispose();
        foreach (KvmVcpuDescriptor? vcpu in _vcpus)
        {
            vcpu?.Dispose();
        }
        _vm.Dispose();
        NativeMemory.AlignedFree(_shadowPage);
    }

    private void ForgetDerived()
    {
        if (_ownCodeRan && !OwnCode)
        {
            _ownCodeRan = false;
            ForgetTranslations();
        }
    }

    /// <summary>Counts how often translations in the kernel's vCPUs have become stale as a whole.</summary>
    public int Generation => Volatile.Read(ref _generation);

    /// <summary>Whether a write is one that changes nothing: the kernel lets guest code read ROM and has us see to what it writes there.</summary>
    public bool IsRom(ulong address) => _memory.IsRom(address);

    /// <summary>Has the kernel note which pages of RAM guest code writes, or not.</summary>
    public void LogWrites(bool logs)
    {
        for (int i = 0; i < _memory.Regions.Count; i++)
        {
            MemoryRegion region = _memory.Regions[i];
            _vm.SetMemory((uint)i, region.Address, region.Length, region.HostAddress, logsWrites: logs);
        }
    }

    /// <summary>What guest code in the kernel has written since this was asked last: for each region of RAM, one bit a page.</summary>
    public IReadOnlyList<ulong[]> ReadWrittenPages()
    {
        ulong[][] pages = [.. _memory.Regions.Select(region => new ulong[(region.Length / GuestMemory.PageSize + 63) / 64])];
        for (int i = 0; i < pages.Length; i++)
        {
            _vm.ReadWrittenPages((uint)i, pages[i]);
        }
        return pages;
    }

    private void MapMemory()
    {
        LogWrites(false);
        if (_memory.Rom is { Length: not 0 } rom)
        {
            _vm.SetMemory((uint)_memory.Regions.Count, rom.Address, rom.Length, rom.HostAddress, readOnly: true);
        }
    }

    /// <summary>Guests' time-stamp counters count nanoseconds where the kernel can scale and offset them; otherwise what the host's does. Says how many a second.</summary>
    private long ScaleTime(out TscScale scale)
    {
        long hostHertz = _vcpus[0].TscKilohertz * 1000L;
        scale = TscScale.None;
        if (!TscSettable || !_traits.TscScaling)
        {
            return hostHertz;
        }
        scale = TscScale.Of(Processor.TscHertz, hostHertz, _traits.TscFractionBits);
        foreach (KvmVcpuDescriptor vcpu in _vcpus)
        {
            vcpu.TscKilohertz = (int)(Processor.TscHertz / 1000);
        }
        return Processor.TscHertz;
    }
}
