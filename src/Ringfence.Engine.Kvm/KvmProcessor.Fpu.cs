using System.Runtime.CompilerServices;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.X87;

namespace Ringfence.Engine.Kvm;

/// <summary>The extended state, as an XSAVE area in the host's standard format. What our processor does not have of it stays there as it was.</summary>
internal sealed unsafe partial class KvmProcessor
{
    private const int XsaveBytes = 4096;
    private const int HeaderOffset = 512;
    private const int AvxOffset = 576;
    private const int XmmOffset = 160;
    private const int VectorStride = 64;
    private const ulong X87AndSse = 3;
    private const ulong Avx = 4;
    private const int PkruComponent = 9;

    /// <summary>The extended state's image; behind it as the kernel has it.</summary>
    private readonly byte* _xsave;

    private void FetchFpu()
    {
        _vcpu.ReadXsave(_xsave);
        Unsafe.CopyBlock(_xsave + XsaveBytes, _xsave, XsaveBytes);
        _kernelXcr0 = _machine.Traits.Xsave ? _vcpu.Xcr0 : 1;
        _s->Xcr0 = _kernelXcr0;
        ulong components = *(ulong*)(_xsave + HeaderOffset);
        X87State x87 = default;
        if ((components & 1) == 0)
        {
            x87.Initialize();
        }
        else
        {
            x87.ControlWord = *(ushort*)_xsave;
            x87.StatusWord = *(ushort*)(_xsave + 2);
            x87.Tags = _xsave[4];
            x87.Opcode = *(ushort*)(_xsave + 6);
            x87.InstructionPointer = *(ulong*)(_xsave + 8);
            x87.DataPointer = *(ulong*)(_xsave + 16);
            for (int i = 0; i < 8; i++)
            {
                byte* register = _xsave + 32 + (16 * i);
                x87.SetPhysical(x87.Top + i, new Float80(*(ulong*)register, *(ushort*)(register + 8)));
            }
        }
        _s->X87 = x87;
        _s->Mxcsr = (components & (X87AndSse - 1 + Avx)) == 0 ? 0x1F80 : *(uint*)(_xsave + 24);
        for (int i = 0; i < 16; i++)
        {
            Copy(_s->Vectors + (VectorStride * i), _xsave + XmmOffset + (16 * i), (components & 2) != 0);
            Copy(_s->Vectors + (VectorStride * i) + 16, _xsave + AvxOffset + (16 * i), (components & Avx) != 0);
        }
        int keys = PkruOffset;
        _s->Pkru = keys != 0 && (components & (1UL << PkruComponent)) != 0 ? *(uint*)(_xsave + keys) : 0;
    }

    private void PushFpu()
    {
        X87State x87 = _s->X87;
        *(ushort*)_xsave = x87.ControlWord;
        *(ushort*)(_xsave + 2) = x87.StatusWord;
        _xsave[4] = x87.Tags;
        *(ushort*)(_xsave + 6) = x87.Opcode;
        *(ulong*)(_xsave + 8) = x87.InstructionPointer;
        *(ulong*)(_xsave + 16) = x87.DataPointer;
        for (int i = 0; i < 8; i++)
        {
            Float80 value = x87.GetPhysical(x87.Top + i);
            byte* register = _xsave + 32 + (16 * i);
            *(ulong*)register = value.Significand;
            *(ushort*)(register + 8) = value.SignExponent;
        }
        *(uint*)(_xsave + 24) = _s->Mxcsr;
        ulong components = *(ulong*)(_xsave + HeaderOffset) | X87AndSse;
        bool wide = _processor.Model.Has(CpuFeature.Avx) || (components & Avx) != 0;
        for (int i = 0; i < 16; i++)
        {
            Copy(_xsave + XmmOffset + (16 * i), _s->Vectors + (VectorStride * i), true);
            if (wide)
            {
                Copy(_xsave + AvxOffset + (16 * i), _s->Vectors + (VectorStride * i) + 16, true);
            }
        }
        components |= wide ? Avx : 0;
        int keys = PkruOffset;
        if (keys != 0 && _processor.Model.Has(CpuFeature.ProtectionKeys))
        {
            *(uint*)(_xsave + keys) = _s->Pkru;
            components |= 1UL << PkruComponent;
        }
        *(ulong*)(_xsave + HeaderOffset) = components;
        if (_machine.Traits.Xsave && (_s->Xcr0 != _kernelXcr0))
        {
            _vcpu.Xcr0 = _kernelXcr0 = _s->Xcr0;
        }
        if (!_kernelKnows || !new ReadOnlySpan<byte>(_xsave, XsaveBytes).SequenceEqual(new ReadOnlySpan<byte>(_xsave + XsaveBytes, XsaveBytes)))
        {
            _vcpu.WriteXsave(_xsave);
            Unsafe.CopyBlock(_xsave + XsaveBytes, _xsave, XsaveBytes);
        }
    }

    /// <summary>Where the host's standard format has PKRU; 0 if it has none.</summary>
    private int PkruOffset => (int)_machine.Traits.Cpuid.FirstOrDefault(entry => entry.Leaf == 0xD && entry.Subleaf == PkruComponent).Ebx;

    private static void Copy(byte* to, byte* from, bool there)
    {
        if (there)
        {
            Unsafe.CopyBlockUnaligned(to, from, 16);
        }
        else
        {
            Unsafe.InitBlockUnaligned(to, 0, 16);
        }
    }
}
