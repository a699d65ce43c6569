using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;

namespace Ringfence.Cpu.Vector;

/// <summary>Moves, insertions, extractions and what only governs the unit.</summary>
internal static unsafe partial class VectorBinder
{
    private static bool BindMove(in Site site)
    {
        switch (site.Instruction.Mnemonic)
        {
            case Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu:
                return site.IsStore ? site.Store<Vector128<byte>>() : site.Any<Xmm<MoveVector>, Vector128<byte>>();
            case Mnemonic.Movaps or Mnemonic.Movapd or Mnemonic.Movdqa or Mnemonic.Movntps or Mnemonic.Movntpd or Mnemonic.Movntdq
                or Mnemonic.Movntdqa:
                return site.IsStore ? site.AlignedStore<Vector128<byte>>() : site.Aligned<Xmm<MoveVector>>();
            case Mnemonic.Movss:
                return site.IsStore ? site.Store<uint>() : site.IsLoad ? site.Any<WriteScalar<uint>, uint>() : site.Any<WritePart<uint>, uint>();
            case Mnemonic.Movsd when site.IsXmmOperand(0) || site.IsXmmOperand(1):
                return site.IsStore ? site.Store<ulong>() : site.IsLoad ? site.Any<WriteScalar<ulong>, ulong>() : site.Any<WritePart<ulong>, ulong>();
            case Mnemonic.Movlps or Mnemonic.Movlpd:
                return BindHalf(site, destination: 0, source: 0);
            case Mnemonic.Movhps or Mnemonic.Movhpd:
                return site.IsStore ? BindHalf(site, destination: 0, source: 8) : BindHalf(site, destination: 8, source: 0);
            case Mnemonic.Movhlps:
                return BindHalf(site, destination: 0, source: 8);
            case Mnemonic.Movlhps:
                return BindHalf(site, destination: 8, source: 0);
            case Mnemonic.Movd:
                return BindMove<uint>(site);
            case Mnemonic.Movq:
                return BindMove<ulong>(site);
            case Mnemonic.Movq2dq:
                return site.Any<WriteScalarFromMmx, ulong>();
            case Mnemonic.Movdq2q:
                return site.Any<WriteMmx<ulong>, ulong>();
            case Mnemonic.Movntss:
                return site.Store<uint>();
            case Mnemonic.Movntsd:
                return site.Store<ulong>();
            case Mnemonic.Movnti:
                return site.Instruction.Op1Register.IsGPR64() ? site.Store<ulong>() : site.Store<uint>();
            case Mnemonic.Movntq:
                return site.MmxStore<ulong>();
            case Mnemonic.Maskmovq:
                return site.MaskedStore(&MaskedStore.Mm);
            case Mnemonic.Maskmovdqu:
                return site.MaskedStore(&MaskedStore.Xmm);
            case Mnemonic.Movddup:
                return site.Any<WriteTwice, ulong>();
            case Mnemonic.Movsldup:
                return site.Aligned<Xmm<DuplicateEvenSingles>>();
            case Mnemonic.Movshdup:
                return site.Aligned<Xmm<DuplicateOddSingles>>();
            case Mnemonic.Movmskps:
                return site.Any<SignMask<float>, Vector128<byte>>();
            case Mnemonic.Movmskpd:
                return site.Any<SignMask<double>, Vector128<byte>>();
            case Mnemonic.Pmovmskb:
                return site.IsMmxOperand(1) ? site.Any<MmxSignMask, ulong>() : site.Any<SignMask<byte>, Vector128<byte>>();
            case Mnemonic.Pextrw:
                return site.IsMmxOperand(1) ? BindExtractMmx(site) : BindExtract<ushort>(site);
            case Mnemonic.Pextrb:
                return BindExtract<byte>(site);
            case Mnemonic.Pextrd or Mnemonic.Extractps:
                return BindExtract<uint>(site);
            case Mnemonic.Pextrq:
                return BindExtract<ulong>(site);
            case Mnemonic.Pinsrw:
                return site.IsMmx ? site.Any<InsertMmxWord, ushort>() : BindInsert<ushort>(site);
            case Mnemonic.Pinsrb:
                return BindInsert<byte>(site);
            case Mnemonic.Pinsrd:
                return BindInsert<uint>(site);
            case Mnemonic.Pinsrq:
                return BindInsert<ulong>(site);
            case Mnemonic.Ldmxcsr:
                return site.Load<LoadMxcsr, uint>();
            case Mnemonic.Stmxcsr:
                return site.StoreMxcsr();
            case Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb:
                return site.Load<Touch, byte>();
            case Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchw
                or Mnemonic.Prefetch or Mnemonic.Prefetchwt1:
                return site.Is(&Control.Nothing);
            case Mnemonic.Mfence:
                return site.Is(&Control.Fence);
            case Mnemonic.Lfence or Mnemonic.Sfence:
                return site.Is(X86Base.IsSupported ? &Control.Nothing : &Control.Fence);
            case Mnemonic.Emms:
                return site.Is(&Control.EmptyMmx);
            default:
                return false;
        }
    }

    private static bool BindHalf(in Site site, ushort destination, ushort source)
    {
        site.Op->Destination += destination;
        site.Op->Source += source;
        return site.IsStore ? site.Store<ulong>() : site.Any<WritePart<ulong>, ulong>();
    }

    /// <summary>MOVD, MOVQ: between all kinds of registers and memory.</summary>
    private static bool BindMove<T>(in Site site)
        where T : unmanaged
    {
        if (site.IsStore)
        {
            return site.IsMmxOperand(1) ? site.MmxStore<T>() : site.Store<T>();
        }
        return site.IsMmx ? site.Any<WriteMmx<T>, T>()
            : site.IsXmmOperand(0) ? site.Any<WriteScalar<T>, T>()
            : site.IsMmxOperand(1) ? site.Any<WriteGeneralFromMmx<T>, T>()
            : site.Any<WriteGeneral<T>, T>();
    }

    internal static bool BindExtract<T>(in Site site)
        where T : unmanaged
    {
        site.Op->Source += LaneOffset<T>(site, 16);
        return site.IsStore ? site.Store<T>() : site.Any<WriteGeneral<T>, T>();
    }

    private static bool BindExtractMmx(in Site site)
    {
        site.Op->Source += LaneOffset<ushort>(site, 8);
        return site.Any<WriteGeneralFromMmx<ushort>, ushort>();
    }

    private static bool BindInsert<T>(in Site site)
        where T : unmanaged
    {
        site.Op->Destination += LaneOffset<T>(site, 16);
        return site.Any<WritePart<T>, T>();
    }

    private static ushort LaneOffset<T>(in Site site, uint width)
        where T : unmanaged => (ushort)((uint)sizeof(T) * ((uint)site.Op->Immediate & ((width / (uint)sizeof(T)) - 1)));
}
