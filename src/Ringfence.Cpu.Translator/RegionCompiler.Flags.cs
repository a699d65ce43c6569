using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>Where the guest's arithmetic flags are. They stay in the host's register until something else needs it.</summary>
internal sealed unsafe partial class RegionCompiler
{
    private enum FlagHome
    {
        Memory,
        Host,
        Both,
    }

    private FlagHome _flags;
    /// <summary>The block that comes next takes over where the flags are.</summary>
    private bool _carries;

    /// <summary>The host's flags are about to be lost.</summary>
    private void ClobberFlags(RflagsBits live)
    {
        SyncFlags(live);
        _flags = FlagHome.Memory;
    }

    /// <summary>Makes the state's copy good, if anyone may look.</summary>
    private void SyncFlags(RflagsBits live)
    {
        if (_flags == FlagHome.Host && live != RflagsBits.None)
        {
            SaveFlags();
            _flags = FlagHome.Both;
        }
    }

    /// <summary>Brings the flags into the host's register for an instruction that reads some, or leaves some that are read later.</summary>
    private void NeedOldFlags(GuestInstruction i)
    {
        if (i.Reads != RflagsBits.None || (i.Writes != RflagsBits.None && (i.LiveAfter & ~i.Kills) != RflagsBits.None))
        {
            NeedFlags();
        }
    }

    /// <summary>Brings the flags into the host's register.</summary>
    private void NeedFlags()
    {
        if (_flags == FlagHome.Memory)
        {
            RestoreFlags();
            _flags = FlagHome.Both;
        }
    }

    /// <summary>MOV, LAHF, SETO: PUSHF and POPF are slow.</summary>
    private void SaveFlags()
    {
        _e.Move(Host.Scratch, Host.Rax);
        _e.Byte(0x9F);
        _e.Bytes([0x0F, 0x90, 0xC0]);
        _e.Byte(0x66);
        _e.Memory(false, 0x89, Host.Rax, Host.State, StateOffsets.HostFlags - Host.StateBias);
        _e.Move(Host.Rax, Host.Scratch);
    }

    /// <summary>OF comes back by an addition that overflows, the others by SAHF.</summary>
    private void RestoreFlags()
    {
        _e.Move(Host.Scratch, Host.Rax);
        _e.Memory(false, 0x1B7, Host.Rax, Host.State, StateOffsets.HostFlags - Host.StateBias);
        _e.Bytes([0x04, 0x7F]);
        _e.Byte(0x9E);
        _e.Move(Host.Rax, Host.Scratch);
    }
}

/// <summary>Offsets of fields in <see cref="CpuState"/>.</summary>
internal static unsafe partial class StateOffsets
{
    /// <summary>A state of nobody's: taking a field's address may read it.</summary>
    private static readonly CpuState* Nowhere = (CpuState*)NativeMemory.AllocZeroed((nuint)sizeof(CpuState));

    public static int Rip { get; } = Of(&Nowhere->Rip);

    public static int JumpCache { get; } = Of(&Nowhere->JumpCache);

    public static int Mode { get; } = Of(&Nowhere->Mode);

    public static int SystemFlags { get; } = Of(&Nowhere->SystemFlags);

    public static int Cpl { get; } = Of(&Nowhere->Cpl);

    public static int KernelGsBase { get; } = Of(&Nowhere->KernelGsBase);

    public static int JumpMisses { get; } = Of(&Nowhere->Translated.JumpMisses);

    public static int Segment(int number) => Of(&Nowhere->Es.Base) + (number * sizeof(SegmentRegister));

    public static int Selector(int number) => Segment(number) + Of(&Nowhere->Es.Selector) - Of(&Nowhere->Es.Base);

    public static int Tlb { get; } = Of(&Nowhere->Tlb);

    public static int TlbSupervisorAc { get; } = Of(&Nowhere->TlbSupervisorAc);

    public static int SiteTlb { get; } = Of(&Nowhere->SiteTlb);

    public static int Attention { get; } = Of(&Nowhere->Attention);

    public static int Retired { get; } = Of(&Nowhere->Retired);

    public static int CodePage { get; } = Of(&Nowhere->CodePage);

    public static int HostFlags { get; } = Of(&Nowhere->HostFlags);

    public static int VectorsLoaded { get; } = Of(&Nowhere->VectorsLoaded);

    public static int FsBase { get; } = Of(&Nowhere->Fs.Base);

    public static int GsBase { get; } = Of(&Nowhere->Gs.Base);

    public static int Mxcsr { get; } = Of(&Nowhere->Mxcsr);

    public static int Vectors { get; } = Of(Nowhere->Vectors);


    public static int HostMxcsr { get; } = Of(&Nowhere->Translated.HostMxcsr);

    public static int Locate { get; } = Of(&Nowhere->Translated.Locate);

    public static int Size { get; } = Of(&Nowhere->Translated.Size);

    public static int Spill { get; } = Of(&Nowhere->Translated.Spill);

    public static int HostStack { get; } = Of(&Nowhere->Translated.HostStack);

    public static int StackLimit { get; } = Of(&Nowhere->Translated.StackLimit);

    public static int Turns { get; } = Of(&Nowhere->Translated.Turns);

    public static int Patience { get; } = Of(&Nowhere->Translated.Patience);

    public static int LastFit { get; } = Of(&Nowhere->Translated.LastFit);

    public static int Filled { get; } = Of(&Nowhere->Translated.Filled);

    public static int FilledCount { get; } = Of(&Nowhere->Translated.FilledCount);

    public static int Missed { get; } = Of(&Nowhere->Translated.Missed);

    public static int Stores { get; } = Of(&Nowhere->Translated.Stores);

    public static int SiteHits { get; } = Of(&Nowhere->Translated.SiteHits);

    public static int SiteMisses { get; } = Of(&Nowhere->Translated.SiteMisses);

    public static int Gpr(int number) => number * 8;

    private static int Of(void* field) => (int)((byte*)field - (byte*)Nowhere);
}
