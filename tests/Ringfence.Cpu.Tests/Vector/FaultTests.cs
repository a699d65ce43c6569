using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>What the host cannot be asked without dying of it: exceptions; and what it does not show: the x87 unit under MMX.</summary>
public sealed unsafe class FaultTests : IDisposable
{
    private const uint AllMasked = 0x1F80;
    private readonly Rig _rig = new();

    public void Dispose() => _rig.Dispose();

    [Theory]
    [InlineData(Code.Movaps_xmm_xmmm128, 1, true)]
    [InlineData(Code.Movaps_xmm_xmmm128, 0, false)]
    [InlineData(Code.Paddb_xmm_xmmm128, 8, true)]
    [InlineData(Code.Addps_xmm_xmmm128, 4, true)]
    [InlineData(Code.Movups_xmm_xmmm128, 1, false)]
    [InlineData(Code.Movq_xmm_xmmm64, 3, false)]
    [InlineData(Code.Addsd_xmm_xmmm64, 3, false)]
    [InlineData(Code.Cvtdq2pd_xmm_xmmm64, 3, false)]
    public void ChecksAlignmentWhereTheInstructionDoes(Code code, int misalignment, bool faults)
    {
        Bind(Instruction.Create(code, Register.XMM1, new MemoryOperand(Register.RSI)));
        RunMisaligned(misalignment, faults);
    }

    /// <summary>SDM 2 PCMPISTRI and its kin: the memory operand need not be aligned; that of other legacy SSE instructions must be.</summary>
    [Theory]
    [InlineData(Code.Pcmpistri_xmm_xmmm128_imm8, 1, false)]
    [InlineData(Code.Pcmpistrm_xmm_xmmm128_imm8, 15, false)]
    [InlineData(Code.Pcmpestri_xmm_xmmm128_imm8, 1, false)]
    [InlineData(Code.Pcmpestrm64_xmm_xmmm128_imm8, 8, false)]
    [InlineData(Code.Insertps_xmm_xmmm32_imm8, 1, false)]
    [InlineData(Code.Dpps_xmm_xmmm128_imm8, 4, true)]
    [InlineData(Code.Dppd_xmm_xmmm128_imm8, 8, true)]
    [InlineData(Code.Mpsadbw_xmm_xmmm128_imm8, 1, true)]
    [InlineData(Code.Aeskeygenassist_xmm_xmmm128_imm8, 8, true)]
    [InlineData(Code.Pclmulqdq_xmm_xmmm128_imm8, 8, true)]
    [InlineData(Code.Sha1rnds4_xmm_xmmm128_imm8, 4, true)]
    [InlineData(Code.Gf2p8affineqb_xmm_xmmm128_imm8, 8, true)]
    public void ChecksAlignmentOfInstructionsWithImmediates(Code code, int misalignment, bool faults)
    {
        Bind(Instruction.Create(code, Register.XMM1, new MemoryOperand(Register.RSI), 0));
        RunMisaligned(misalignment, faults);
    }

    [Theory]
    [InlineData(Code.Aesenc_xmm_xmmm128)]
    [InlineData(Code.Aesimc_xmm_xmmm128)]
    [InlineData(Code.Sha256rnds2_xmm_xmmm128)]
    [InlineData(Code.Gf2p8mulb_xmm_xmmm128)]
    [InlineData(Code.Phminposuw_xmm_xmmm128)]
    public void ChecksAlignmentOfWhatCameLater(Code code)
    {
        Bind(Instruction.Create(code, Register.XMM1, new MemoryOperand(Register.RSI)));
        RunMisaligned(8, faults: true);
        RunMisaligned(16, faults: false);
    }

    /// <summary>APM 4 MOVNTSS, MOVNTSD.</summary>
    [Theory]
    [InlineData(Code.Movntss_m32_xmm)]
    [InlineData(Code.Movntsd_m64_xmm)]
    public void ScalarStreamingStoresNeedNoAlignment(Code code)
    {
        Bind(Instruction.Create(code, new MemoryOperand(Register.RSI), Register.XMM1));
        RunMisaligned(1, faults: false);
    }

    /// <summary>SDM 2 DPPS: exceptions are those of each multiplication and addition; an unmasked one leaves the destination alone.</summary>
    [Theory]
    // max * max: overflow and precision. inf * 1 + -inf * 1: invalid, in the addition.
    [InlineData(0x7F7F_FFFF, 0x7F7F_FFFF, 0x3F80_0000, 0x3F80_0000, 0x08, 0x28)]
    [InlineData(0x7F80_0000, 0x3F80_0000, 0xFF80_0000, 0x3F80_0000, 0x01, 0x01)]
    // 1/3 * 1/3 is inexact, masked, and comes before inf - inf, which is not.
    [InlineData(0x7F80_0000, 0x3F80_0000, 0xFF80_0000, 0x3F80_0000, 0x01, 0x21, 0x3EAA_AAAB)]
    public void DotProductRaisesWhatItsStepsRaise(uint a0, uint b0, uint a1, uint b1, uint unmasked, uint flags, uint third = 0)
    {
        Bind(Instruction.Create(Code.Dpps_xmm_xmmm128_imm8, Register.XMM1, Register.XMM2, 0xF1));
        CpuState* s = _rig.State;
        uint* a = (uint*)(s->Vectors + 64);
        uint* b = (uint*)(s->Vectors + 128);
        (a[0], a[1], a[2], a[3]) = (a0, a1, third, 77);
        (b[0], b[1], b[2], b[3]) = (b0, b1, third, 0);
        s->Mxcsr = (AllMasked | 0x40) & ~(unmasked << 7);
        Assert.False(_rig.Run());
        Assert.Equal((uint)Vectors.SimdException, s->FaultVector);
        Assert.Equal(((AllMasked | 0x40) & ~(unmasked << 7)) | flags, s->Mxcsr);
        Assert.Equal((a0, a1, third, 77U), (a[0], a[1], a[2], a[3]));
    }

    [Fact]
    public void AlignedStoresCheckToo()
    {
        Bind(Instruction.Create(Code.Movntdq_m128_xmm, new MemoryOperand(Register.RSI), Register.XMM1));
        _rig.State->Gpr[6] = (ulong)_rig.Buffer + 8;
        Assert.False(_rig.Run());
        Assert.Equal((uint)Vectors.GeneralProtection, _rig.State->FaultVector);
    }

    [Theory]
    // 1 / 0: zero-divide; denormal + 1: denormal; 1 + 2^-60: precision; max * max: overflow and precision; min * 0.5: underflow, exact.
    [InlineData(Code.Divsd_xmm_xmmm64, 0x3FF0_0000_0000_0000, 0, 0x04, 0x04)]
    [InlineData(Code.Addsd_xmm_xmmm64, 0x3FF0_0000_0000_0000, 1, 0x02, 0x02)]
    [InlineData(Code.Addsd_xmm_xmmm64, 0x3FF0_0000_0000_0000, 0x3C30_0000_0000_0000, 0x20, 0x20)]
    [InlineData(Code.Mulsd_xmm_xmmm64, 0x7FEF_FFFF_FFFF_FFFF, 0x7FEF_FFFF_FFFF_FFFF, 0x08, 0x28)]
    [InlineData(Code.Mulsd_xmm_xmmm64, 0x0010_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x10, 0x10)]
    [InlineData(Code.Ucomisd_xmm_xmmm64, 0x7FF0_0000_0000_0001, 0, 0x01, 0x01)]
    [InlineData(Code.Minsd_xmm_xmmm64, 0x7FF8_0000_0000_0000, 0, 0x01, 0x01)]
    public void UnmaskedExceptionLeavesTheDestination(Code code, ulong a, ulong b, uint unmasked, uint flags)
    {
        Bind(Instruction.Create(code, Register.XMM1, Register.XMM2));
        CpuState* s = _rig.State;
        ulong* d = (ulong*)(s->Vectors + 64);
        d[0] = a;
        d[1] = 77;
        *(ulong*)(s->Vectors + 128) = b;
        s->Mxcsr = AllMasked & ~(unmasked << 7);
        Assert.False(_rig.Run());
        Assert.Equal((uint)Vectors.SimdException, s->FaultVector);
        Assert.Equal((AllMasked & ~(unmasked << 7)) | flags, s->Mxcsr);
        Assert.Equal((a, 77UL), (d[0], d[1]));

        s->Cr4 = 0;
        Assert.False(_rig.Run());
        Assert.Equal((uint)Vectors.InvalidOpcode, s->FaultVector);

        s->Mxcsr = AllMasked;
        Assert.True(_rig.Run());
    }

    [Fact]
    public void ExceptionOfOneLaneHidesTheResultsOfOthers()
    {
        Bind(Instruction.Create(Code.Divpd_xmm_xmmm128, Register.XMM1, Register.XMM2));
        CpuState* s = _rig.State;
        double* a = (double*)(s->Vectors + 64);
        double* b = (double*)(s->Vectors + 128);
        (a[0], a[1], b[0], b[1]) = (1, 1, 0, 3);
        s->Mxcsr = AllMasked & ~0x200U;
        Assert.False(_rig.Run());
        // Zero-divide is seen, the inexact third is not.
        Assert.Equal(0x1D84U, s->Mxcsr);
        Assert.Equal((1.0, 1.0), (a[0], a[1]));
    }

    [Fact]
    public void MmxTakesTheX87UnitOver()
    {
        Bind(Instruction.Create(Code.Paddb_mm_mmm64, Register.MM3, Register.MM4));
        CpuState* s = _rig.State;
        s->X87.StatusWord = 0x3800;
        s->X87.Tags = 0;
        Assert.True(_rig.Run());
        Assert.Equal(0, s->X87.StatusWord);
        Assert.Equal(0xFF, s->X87.Tags);
        Assert.Equal(0xFFFF, *(ushort*)(_rig.X87 + (16 * 3) + 8));

        s->X87.StatusWord = 0x80;
        Assert.False(_rig.Run());
        Assert.Equal((uint)Vectors.MathFault, s->FaultVector);

        s->X87.StatusWord = 0;
        Bind(Instruction.Create(Code.Emms));
        Assert.True(_rig.Run());
        Assert.Equal(0, s->X87.Tags);
    }

    [Theory]
    [InlineData(0x1F80U, true)]
    [InlineData(0xFFFFU, true)]
    [InlineData(0x1_1F80U, false)]
    public void LdmxcsrRefusesReservedBits(uint value, bool accepted)
    {
        Bind(Instruction.Create(Code.Ldmxcsr_m32, new MemoryOperand(Register.RSI)));
        _rig.State->Gpr[6] = (ulong)_rig.Buffer;
        *(uint*)_rig.Buffer = value;
        _rig.State->Mxcsr = 0x1FA0;
        Assert.Equal(accepted, _rig.Run());
        Assert.Equal(accepted ? value : 0x1FA0, _rig.State->Mxcsr);
    }

    private void RunMisaligned(int misalignment, bool faults)
    {
        _rig.State->Gpr[6] = (ulong)_rig.Buffer + 64 + (ulong)misalignment;
        _rig.State->Mxcsr = AllMasked;
        Assert.Equal(!faults, _rig.Run());
        if (faults)
        {
            Assert.Equal((uint)Vectors.GeneralProtection, _rig.State->FaultVector);
        }
    }

    private void Bind(in Instruction instruction) => Assert.True(_rig.Bind(instruction));
}
