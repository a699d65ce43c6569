using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ringfence.Host;

/// <summary>Files that nobody but the user can have written.</summary>
public static unsafe class OwnFile
{
    private const int StatBytes = 256;
    private const int EmptyPath = 0x1000;
    private const uint WantTypeModeOwner = 1 | 2 | 8;
    /// <summary>Offsets in struct statx (statx(2)).</summary>
    private const int MaskAt = 0;
    private const int OwnerAt = 20;
    private const int ModeAt = 28;
    private const int TypeMask = 0xF000;
    private const int RegularFile = 0x8000;
    private const int WritableByOthers = 0x12;

    /// <summary>Whether an open file is a regular one, the user's own, and others may not write to it. False where the host does not tell.</summary>
    public static bool IsTrusted(SafeFileHandle file)
    {
        byte* stat = stackalloc byte[StatBytes];
        byte none = 0;
        bool added = false;
        try
        {
            file.DangerousAddRef(ref added);
            return statx((int)file.DangerousGetHandle(), &none, EmptyPath, WantTypeModeOwner, stat) == 0
                && (*(uint*)(stat + MaskAt) & WantTypeModeOwner) == WantTypeModeOwner
                && *(uint*)(stat + OwnerAt) == geteuid()
                && (*(ushort*)(stat + ModeAt) & TypeMask) == RegularFile && (*(ushort*)(stat + ModeAt) & WritableByOthers) == 0;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
        finally
        {
            if (added)
            {
                file.DangerousRelease();
            }
        }
    }

    [DllImport("libc")]
    private static extern int statx(int folder, byte* path, int flags, uint mask, byte* stat);

    [DllImport("libc")]
    private static extern uint geteuid();
}
