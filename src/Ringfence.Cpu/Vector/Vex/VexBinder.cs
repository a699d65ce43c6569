using System.Runtime.Intrinsics;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>Chooses handlers for AVX, AVX2, FMA and F16C instructions. By topic: this part moves and permutations.</summary>
internal static unsafe partial class VexBinder
{
    /// <summary>Fills <paramref name="op"/>'s handler; its memory operand, immediate and destination are already set. False if the instruction
    /// is not one of ours, or its registers are not allowed.</summary>
    public static bool Bind(in Instruction instruction, Op* op)
    {
        var site = new VexSite(in instruction, op);
        return BindMove(site) || BindElements(site) || BindInteger(site) || BindFloat(site) || BindConversion(site) || BindFused(site)
            || BindExtension(site);
    }

    /// <summary>Touches memory by elements chosen by a mask or at addresses of their own, and checks each for itself.</summary>
    public static bool TouchesElements(in Instruction instruction) => instruction.Mnemonic is
        Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq
        or Mnemonic.Vpgatherdd or Mnemonic.Vpgatherdq or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq
        or Mnemonic.Vgatherdps or Mnemonic.Vgatherdpd or Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd;

    private static bool BindMove(in VexSite site)
    {
        switch (site.Instruction.Mnemonic)
        {
            case Mnemonic.Vmovups or Mnemonic.Vmovupd or Mnemonic.Vmovdqu or Mnemonic.Vlddqu:
                return site.Move(aligned: false);
            case Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq
                or Mnemonic.Vmovntdqa:
                return site.Move(aligned: true);
            case Mnemonic.Vmovss:
                return site.IsStore ? site.Legacy.Store<uint>()
                    : site.IsMemory ? site.Legacy.Any<Cleared<WriteScalar<uint>, uint>, uint>() : site.Insert<uint>(0);
            case Mnemonic.Vmovsd:
                return site.IsStore ? site.Legacy.Store<ulong>()
                    : site.IsMemory ? site.Legacy.Any<Cleared<WriteScalar<ulong>, ulong>, ulong>() : site.Insert<ulong>(0);
            case Mnemonic.Vmovlps or Mnemonic.Vmovlpd:
                return site.IsStore ? site.Legacy.Store<ulong>() : site.Insert<ulong>(0);
            case Mnemonic.Vmovhps or Mnemonic.Vmovhpd:
                return site.IsStore ? StoreHigh(site) : site.Insert<ulong>(1);
            case Mnemonic.Vmovhlps:
                site.Op->Source += sizeof(ulong);
                return site.Insert<ulong>(0);
            case Mnemonic.Vmovlhps:
                return site.Insert<ulong>(1);
            case Mnemonic.Vmovd:
                return BindScalarMove<uint>(site);
            case Mnemonic.Vmovq:
                return BindScalarMove<ulong>(site);
            case Mnemonic.Vmovddup:
                return site.IsWide ? site.Integer<DuplicateDoubles>() : site.Broadcast<ulong>();
            case Mnemonic.Vmovsldup:
                return site.Integer<DuplicateEvenSingles>();
            case Mnemonic.Vmovshdup:
                return site.Integer<DuplicateOddSingles>();
            case Mnemonic.Vmovmskps:
                return site.SignMask<float>();
            case Mnemonic.Vmovmskpd:
                return site.SignMask<double>();
            case Mnemonic.Vpmovmskb:
                return site.SignMask<byte>();
            case Mnemonic.Vpextrb:
                return VectorBinder.BindExtract<byte>(site.Legacy);
            case Mnemonic.Vpextrw:
                return VectorBinder.BindExtract<ushort>(site.Legacy);
            case Mnemonic.Vpextrd or Mnemonic.Vextractps:
                return VectorBinder.BindExtract<uint>(site.Legacy);
            case Mnemonic.Vpextrq:
                return VectorBinder.BindExtract<ulong>(site.Legacy);
            case Mnemonic.Vpinsrb:
                return site.Insert<byte>();
            case Mnemonic.Vpinsrw:
                return site.Insert<ushort>();
            case Mnemonic.Vpinsrd:
                return site.Insert<uint>();
            case Mnemonic.Vpinsrq:
                return site.Insert<ulong>();
            case Mnemonic.Vbroadcastss or Mnemonic.Vpbroadcastd:
                return site.Broadcast<uint>();
            case Mnemonic.Vbroadcastsd or Mnemonic.Vpbroadcastq:
                return site.Broadcast<ulong>();
            case Mnemonic.Vpbroadcastb:
                return site.Broadcast<byte>();
            case Mnemonic.Vpbroadcastw:
                return site.Broadcast<ushort>();
            case Mnemonic.Vbroadcastf128 or Mnemonic.Vbroadcasti128:
                return site.Broadcast<Vector128<byte>>();
            case Mnemonic.Vinsertf128 or Mnemonic.Vinserti128:
                return site.Is<InsertHalf>();
            case Mnemonic.Vextractf128 or Mnemonic.Vextracti128:
                site.Op->Source += (ushort)(16 * (site.Op->Immediate & 1));
                return site.IsStore ? site.Legacy.Store<Vector128<byte>>() : site.Is<Move<Bits128>>();
            case Mnemonic.Vperm2f128 or Mnemonic.Vperm2i128:
                return site.Is<PermuteHalves>();
            case Mnemonic.Vpermq or Mnemonic.Vpermpd:
                return site.Is<PermuteQuadwords>();
            case Mnemonic.Vpermd or Mnemonic.Vpermps:
                return site.Is<PermuteDoublewords>();
            case Mnemonic.Vzeroupper:
                return site.Is(site.Instruction.CodeSize == CodeSize.Code64 ? &ClearRegisters.Upper16 : &ClearRegisters.Upper8);
            case Mnemonic.Vzeroall:
                return site.Is(site.Instruction.CodeSize == CodeSize.Code64 ? &ClearRegisters.All16 : &ClearRegisters.All8);
            case Mnemonic.Vldmxcsr:
                return site.Legacy.Load<LoadMxcsr, uint>();
            case Mnemonic.Vstmxcsr:
                return site.Legacy.StoreMxcsr();
            default:
                return false;
        }
    }

    private static bool BindElements(in VexSite site) => site.Instruction.Mnemonic switch
    {
        Mnemonic.Vmaskmovdqu => BindMaskedBytes(site),
        Mnemonic.Vmaskmovps or Mnemonic.Vpmaskmovd => site.Masked<uint>(),
        Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovq => site.Masked<ulong>(),
        Mnemonic.Vpgatherdd or Mnemonic.Vgatherdps => site.Gather<uint, uint>(),
        Mnemonic.Vpgatherdq or Mnemonic.Vgatherdpd => site.Gather<ulong, uint>(),
        Mnemonic.Vpgatherqd or Mnemonic.Vgatherqps => site.Gather<uint, ulong>(),
        Mnemonic.Vpgatherqq or Mnemonic.Vgatherqpd => site.Gather<ulong, ulong>(),
        _ => false,
    };

    /// <summary>What is stored comes first, the mask second: as in the legacy instruction.</summary>
    private static bool BindMaskedBytes(in VexSite site)
    {
        site.Op->Source = site.Op->First;
        return site.Legacy.MaskedStore(&MaskedStore.Xmm);
    }

    private static bool BindScalarMove<T>(in VexSite site)
        where T : unmanaged => site.IsStore ? site.Legacy.Store<T>()
            : site.Instruction.Op0Register.IsXMM() ? site.Legacy.Any<Cleared<WriteScalar<T>, T>, T>()
            : site.Legacy.Any<WriteGeneral<T>, T>();

    private static bool StoreHigh(in VexSite site)
    {
        site.Op->Source += sizeof(ulong);
        return site.Legacy.Store<ulong>();
    }
}
