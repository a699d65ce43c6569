using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

public static unsafe partial class X87Unit
{
    private const ulong CompareFlagsMask = 0x45; // CF, PF and ZF
    private const ulong ClearedFlagsMask = 0x890; // OF, SF and AF

    /// <summary>FCOM, FCOMP, FCOMPP and, if <paramref name="quiet"/>, FUCOM, FUCOMP, FUCOMPP with ST(i).</summary>
    /// <param name="pops">0, 1 or 2.</param>
    public static void Compare(X87State* f, int i, bool quiet, int pops)
    {
        int top = f->Top;
        bool done = IsEmpty(f, top + i)
            ? CommitCompare(f, StackUnderflow, X87Status.Conditions)
            : CompareTop(f, *Register(f, top + i), quiet, 0);
        for (; done && pops > 0; pops--)
        {
            Pop(f);
        }
    }

    /// <summary>FCOM m32, and FCOMP m32 if <paramref name="pop"/>.</summary>
    public static void Compare32(X87State* f, uint source, bool pop)
    {
        uint status = 0;
        Float80 value = Float80Math.FromSingle(source, ref status);
        if (CompareTop(f, value, false, status) && pop)
        {
            Pop(f);
        }
    }

    /// <summary>FCOM m64, and FCOMP m64 if <paramref name="pop"/>.</summary>
    public static void Compare64(X87State* f, ulong source, bool pop)
    {
        uint status = 0;
        Float80 value = Float80Math.FromDouble(source, ref status);
        if (CompareTop(f, value, false, status) && pop)
        {
            Pop(f);
        }
    }

    /// <summary>FICOM m16/m32, and FICOMP if <paramref name="pop"/>.</summary>
    public static void CompareInteger(X87State* f, int source, bool pop)
    {
        if (CompareTop(f, Float80Math.FromInteger(source), false, 0) && pop)
        {
            Pop(f);
        }
    }

    /// <summary>FTST.</summary>
    public static void Test(X87State* f) => CompareTop(f, default, false, 0);

    /// <summary>FXAM.</summary>
    public static void Examine(X87State* f)
    {
        Float80 value = *Register(f, f->Top);
        uint conditions = IsEmpty(f, f->Top)
            ? X87Status.C3 | X87Status.C0 | (value.IsNegative ? X87Status.C1 : 0)
            : Float80Math.Examine(value);
        f->StatusWord = (ushort)((f->StatusWord & ~(X87Status.Conditions | X87Status.C1)) | conditions);
    }

    /// <summary>FCOMI, FCOMIP and, if <paramref name="quiet"/>, FUCOMI, FUCOMIP: returns RFLAGS with ZF, PF and CF replaced and OF, SF
    /// and AF cleared, or as it was if an unmasked exception stops the instruction.</summary>
    public static ulong CompareFlags(X87State* f, int i, bool quiet, bool pop, ulong rflags)
    {
        int top = f->Top;
        uint status = 0;
        uint conditions;
        if (IsEmpty(f, top) || IsEmpty(f, top + i))
        {
            status = StackUnderflow;
            conditions = X87Status.Conditions;
        }
        else
        {
            conditions = Float80Math.Compare(*Register(f, top), *Register(f, top + i), quiet, ref status);
        }
        if (!Commit(f, status))
        {
            return rflags;
        }
        if (pop)
        {
            Pop(f);
        }
        // C0, C2 and C3 have the places of CF, PF and ZF eight bits up, as SAHF wants them.
        return (rflags & ~(CompareFlagsMask | ClearedFlagsMask)) | (conditions >> 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool CompareTop(X87State* f, Float80 other, bool quiet, uint status)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            return CommitCompare(f, StackUnderflow, X87Status.Conditions);
        }
        uint conditions = Float80Math.Compare(*Register(f, top), other, quiet, ref status);
        return CommitCompare(f, status, conditions);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool CommitCompare(X87State* f, uint status, uint conditions)
    {
        if (!Commit(f, status))
        {
            return false;
        }
        f->StatusWord = (ushort)((f->StatusWord & ~X87Status.Conditions) | conditions);
        return true;
    }
}
