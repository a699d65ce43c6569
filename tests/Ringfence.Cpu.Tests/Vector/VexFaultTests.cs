using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>Exceptions of VEX instructions, which the host cannot be asked for.</summary>
public sealed unsafe class VexFaultTests : IDisposable
{
    private const uint AllMasked = 0x1F80;
    private readonly Rig _rig = new();

    public void Dispose() => _rig.Dispose();

    /// <summary>SDM 2 2.7: only explicitly aligned moves ask for alignment, to their whole size.</summary>
    [Theory]
    [InlineData(Code.VEX_Vmovaps_ymm_ymmm256, 16, true)]
    [InlineData(Code.VEX_Vmovaps_ymm_ymmm256, 32, false)]
    [InlineData(Code.VEX_Vmovdqa_xmm_xmmm128, 8, true)]
    [InlineData(Code.VEX_Vmovdqa_xmm_xmmm128, 16, false)]
    [InlineData(Code.VEX_Vmovntdqa_ymm_m256, 16, true)]
    [InlineData(Code.VEX_Vmovups_ymm_ymmm256, 1, false)]
    [InlineData(Code.VEX_Vlddqu_ymm_m256, 3, false)]
    public void OnlyAlignedLoadsCheck(Code code, int offset, bool faults) =>
        CheckAlignment(Instruction.Create(code, code == Code.VEX_Vmovdqa_xmm_xmmm128 ? Register.XMM1 : Register.YMM1, Rsi), offset, faults);

    [Theory]
    [InlineData(Code.VEX_Vmovapd_ymmm256_ymm, Register.YMM1, 16, true)]
    [InlineData(Code.VEX_Vmovntps_m256_ymm, Register.YMM1, 16, true)]
    [InlineData(Code.VEX_Vmovntdq_m128_xmm, Register.XMM1, 8, true)]
    [InlineData(Code.VEX_Vmovntdq_m128_xmm, Register.XMM1, 16, false)]
    [InlineData(Code.VEX_Vmovdqu_ymmm256_ymm, Register.YMM1, 7, false)]
    public void OnlyAlignedStoresCheck(Code code, Register source, int offset, bool faults) =>
        CheckAlignment(Instruction.Create(code, Rsi, source), offset, faults);

    [Theory]
    [InlineData(Code.VEX_Vaddps_ymm_ymm_ymmm256, Register.YMM1)]
    [InlineData(Code.VEX_Vpand_xmm_xmm_xmmm128, Register.XMM1)]
    [InlineData(Code.VEX_Vfmadd231pd_ymm_ymm_ymmm256, Register.YMM1)]
    public void ArithmeticTakesAnyAddress(Code code, Register register) => CheckAlignment(Instruction.Create(code, register, register + 1, Rsi), 1, false);

    private static MemoryOperand Rsi => new(Register.RSI);

    private void CheckAlignment(in Instruction instruction, int offset, bool faults)
    {
        Bind(instruction);
        _rig.State->Gpr[6] = (ulong)_rig.Buffer + (ulong)offset;
        _rig.State->Mxcsr = AllMasked;
        Assert.Equal(!faults, _rig.Run());
        if (faults)
        {
            Assert.Equal((uint)Vectors.GeneralProtection, _rig.State->FaultVector);
        }
    }

    /// <summary>SDM 1 11.5: an unmasked exception of any lane, also one of the upper half, keeps the destination and what is above it.</summary>
    [Theory]
    [InlineData(Code.VEX_Vaddpd_ymm_ymm_ymmm256, 1.0, double.NaN, 0x00U)]
    [InlineData(Code.VEX_Vdivpd_ymm_ymm_ymmm256, 1.0, 0.0, 0x04U)]
    [InlineData(Code.VEX_Vmulpd_ymm_ymm_ymmm256, double.MaxValue, 2.0, 0x28U)]
    [InlineData(Code.VEX_Vmaxpd_ymm_ymm_ymmm256, 1.0, double.NaN, 0x01U)]
    public void UnmaskedExceptionKeepsTheDestination(Code code, double a, double b, uint flags)
    {
        Bind(Instruction.Create(code, Register.YMM1, Register.YMM2, Register.YMM3));
        CpuState* s = _rig.State;
        ((double*)Vector(2))[3] = a;
        ((double*)Vector(3))[3] = b;
        for (int i = 0; i < 3; i++)
        {
            ((double*)Vector(2))[i] = ((double*)Vector(3))[i] = 1;
        }
        new Span<byte>(Vector(1), 64).Fill(0x77);
        // All exceptions but precision are unmasked.
        s->Mxcsr = 0x1000;
        bool done = _rig.Run();
        Assert.Equal(flags == 0, done);
        Assert.Equal(0x1000 | flags, s->Mxcsr);
        Assert.Equal(done ? 0 : 0x77, Vector(1)[40]);
        if (!done)
        {
            Assert.Equal((uint)Vectors.SimdException, s->FaultVector);
            Assert.True(new Span<byte>(Vector(1), 64).IndexOfAnyExcept((byte)0x77) < 0);
        }
    }

    /// <summary>SDM 1 14.5.2: the product is not rounded, so it cannot overflow by itself, and the sum is rounded once.</summary>
    [Theory]
    // max * 2 - max = max: no exception at all.
    [InlineData(Code.VEX_Vfmsub213sd_xmm_xmm_xmmm64, 0x7FEF_FFFF_FFFF_FFFF, 0x4000_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF, 0x7FEF_FFFF_FFFF_FFFF, 0)]
    // (1 + 2^-52)^2 - (1 + 2^-51) = 2^-104: exact.
    [InlineData(Code.VEX_Vfmsub213sd_xmm_xmm_xmmm64, 0x3FF0_0000_0000_0001, 0x3FF0_0000_0000_0001, 0x3FF0_0000_0000_0002, 0x3970_0000_0000_0000, 0)]
    // 2^-600 * 2^-600 + 1: inexact.
    [InlineData(Code.VEX_Vfmadd213sd_xmm_xmm_xmmm64, 0x1A70_0000_0000_0000, 0x1A70_0000_0000_0000, 0x3FF0_0000_0000_0000, 0x3FF0_0000_0000_0000, 0x20)]
    // infinity * 0 + 1: invalid.
    [InlineData(Code.VEX_Vfmadd213sd_xmm_xmm_xmmm64, 0x7FF0_0000_0000_0000, 0, 0x3FF0_0000_0000_0000, 0xFFF8_0000_0000_0000, 1)]
    // 2^-1000 * 2^-70 + 0: tiny and inexact when masked.
    [InlineData(Code.VEX_Vfmadd213sd_xmm_xmm_xmmm64, 0x0170_0000_0000_0000, 0x3B90_0000_0000_0001, 0, 0x10, 0x30)]
    public void FusedOperationsRoundOnce(Code code, ulong x, ulong y, ulong z, ulong result, uint flags)
    {
        Bind(Instruction.Create(code, Register.XMM1, Register.XMM2, Register.XMM3));
        CpuState* s = _rig.State;
        ulong* d = (ulong*)Vector(1);
        foreach (uint unmasked in new[] { 0U, flags })
        {
            s->Mxcsr = AllMasked & ~(unmasked << 7);
            (d[0], d[1], d[2]) = (y, 77, 78);
            *(ulong*)Vector(2) = x;
            *(ulong*)Vector(3) = z;
            bool done = _rig.Run();
            Assert.Equal(unmasked == 0, done || flags == 0);
            Assert.Equal(flags, s->Mxcsr & 0x3F & flags);
            Assert.Equal(done ? (result, 77UL, 0UL) : (y, 77UL, 78UL), (d[0], d[1], d[2]));
            if (flags == 0)
            {
                Assert.True(done);
                Assert.Equal(AllMasked, s->Mxcsr);
                return;
            }
        }
    }

    /// <summary>SDM 2 VCVTPS2PH: nothing is stored if an exception is not masked.</summary>
    [Fact]
    public void HalvesAreNotStoredWithAnUnmaskedException()
    {
        Bind(Instruction.Create(Code.VEX_Vcvtps2ph_xmmm64_xmm_imm8, Rsi, Register.XMM1, 0));
        CpuState* s = _rig.State;
        s->Gpr[6] = (ulong)_rig.Buffer;
        *(ulong*)_rig.Buffer = 0x1234;
        *(float*)Vector(1) = 1e10f;
        s->Mxcsr = AllMasked & ~0x400U;
        Assert.False(_rig.Run());
        Assert.Equal((uint)Vectors.SimdException, s->FaultVector);
        Assert.Equal(0x1234UL, *(ulong*)_rig.Buffer);
        s->Mxcsr = AllMasked;
        Assert.True(_rig.Run());
        Assert.Equal(0x7C00UL, *(ulong*)_rig.Buffer);
        Assert.Equal(AllMasked | 0x28, s->Mxcsr);
    }

    /// <summary>SDM 2 VGATHER: #UD if destination, index and mask are not three registers.</summary>
    [Theory]
    [InlineData(Register.XMM1, Register.XMM1, Register.XMM2)]
    [InlineData(Register.XMM1, Register.XMM2, Register.XMM1)]
    [InlineData(Register.XMM1, Register.XMM2, Register.XMM2)]
    public void GathersNeedThreeRegisters(Register destination, Register index, Register mask) => Assert.False(_rig.Bind(
        Instruction.Create(Code.VEX_Vpgatherdd_xmm_vm32x_xmm, destination, new MemoryOperand(Register.RSI, index, 4), mask)));

    private byte* Vector(int number) => _rig.State->Vectors + (64 * number);

    private void Bind(in Instruction instruction) => Assert.True(_rig.Bind(instruction));
}
