namespace Ringfence.Cpu.X87;

public static unsafe partial class X87Unit
{
    /// <summary>FNINIT.</summary>
    public static void Initialize(X87State* f) => f->Initialize();

    /// <summary>FNCLEX: clears the exception flags, SF, ES and B.</summary>
    public static void ClearExceptions(X87State* f) => f->StatusWord &= 0x7F00;

    /// <summary>FLDCW. Unmasking a flag that is set makes the exception pending.</summary>
    public static void LoadControlWord(X87State* f, ushort value)
    {
        f->ControlWord = value;
        f->Normalize();
    }

    /// <summary>FNSTCW.</summary>
    public static ushort ControlWord(X87State* f) => f->ControlWord;

    /// <summary>FNSTSW.</summary>
    public static ushort StatusWord(X87State* f) => f->StatusWord;

    /// <summary>FINCSTP.</summary>
    public static void IncrementTop(X87State* f)
    {
        SetTop(f, f->Top + 1);
        Commit(f, 0);
    }

    /// <summary>FDECSTP.</summary>
    public static void DecrementTop(X87State* f)
    {
        SetTop(f, f->Top - 1);
        Commit(f, 0);
    }

    /// <summary>FFREE ST(i), and FFREEP ST(i) if <paramref name="pop"/>.</summary>
    public static void Free(X87State* f, int i, bool pop)
    {
        f->Tags &= (byte)~(1 << ((f->Top + i) & 7));
        Commit(f, 0);
        if (pop)
        {
            Pop(f);
        }
    }

    /// <summary>FNSTENV: 14 or 28 bytes, then all exceptions are masked. Give it a buffer and call it once the write cannot fault.</summary>
    public static void StoreEnvironment(X87State* f, Span<byte> image, bool wide, bool real)
    {
        X87Image.WriteEnvironment(*f, image, wide, real);
        LoadControlWord(f, (ushort)(f->ControlWord | X87Status.Exceptions));
    }

    /// <summary>FLDENV.</summary>
    public static void LoadEnvironment(X87State* f, ReadOnlySpan<byte> image, bool wide, bool real) =>
        X87Image.ReadEnvironment(ref *f, image, wide, real);

    /// <summary>FNSAVE: 94 or 108 bytes, then FNINIT. Give it a buffer and call it once the write cannot fault.</summary>
    public static void Save(X87State* f, Span<byte> image, bool wide, bool real)
    {
        X87Image.WriteSave(*f, image, wide, real);
        f->Initialize();
    }

    /// <summary>FRSTOR.</summary>
    public static void Restore(X87State* f, ReadOnlySpan<byte> image, bool wide, bool real) =>
        X87Image.ReadSave(ref *f, image, wide, real);

    /// <summary>EMMS: all registers empty and TOP 0 (SDM 3A, "Intel MMX Technology System Programming").</summary>
    public static void EmptyAll(X87State* f)
    {
        SetTop(f, 0);
        f->Tags = 0;
    }

    /// <summary>What every MMX instruction but EMMS does to the x87: TOP becomes 0 and all registers valid.</summary>
    public static void EnterMmx(X87State* f)
    {
        SetTop(f, 0);
        f->Tags = 0xFF;
    }

    /// <summary>Writes MM<i>index</i>: the significand of a physical register, whose sign and exponent become all ones.</summary>
    public static void WriteMmx(X87State* f, int index, ulong value) => *Register(f, index) = new Float80(value, 0xFFFF);

    /// <summary>Reads MM<i>index</i>.</summary>
    public static ulong ReadMmx(X87State* f, int index) => Register(f, index)->Significand;
}
