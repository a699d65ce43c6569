using System.Runtime.Intrinsics.X86;

namespace Ringfence.Cli.Tests;

/// <summary>Programs that test a processor from inside: Debian's stress-ng and openssl, and a 32-bit busybox, under its cloud kernel.</summary>
[Collection(nameof(LinuxGuestTests))]
[Trait("Category", "Guest")]
public sealed class SelfTestGuestTests
{
    /// <summary>Rounds of stress-ng's methods: there are 79 of them, one after the other.</summary>
    private const int StressRounds = 160;

    [Theory]
    [InlineData("x86-64-v1")]
    [InlineData("max")]
    [InlineData("host")]
    public void ProgramsThatCheckThemselvesPass(string model)
    {
        Assert.SkipWhen(model == "host" && (!Avx512BW.IsSupported || Environment.GetEnvironmentVariable("RINGFENCE_ENGINE") == "interpreter"),
            "needs the translator, and a host with more than 'max'");
        using var guest = new LinuxShell("RINGFENCE_KERNEL", "RINGFENCE_SELFTEST_INITRD", 1024, "--cpu", model);
        guest.WaitForWelcome();
        guest.WaitForPrompt();

        Assert.Contains(
            "successful run completed",
            guest.Run($"stress-ng --cpu 1 --cpu-method all --cpu-ops {StressRounds} --verify 2>&1 | tail -n 1"), StringComparison.Ordinal);
        Assert.Contains("successful run completed", guest.Run("stress-ng --vecmath 1 --vecmath-ops 20 --verify 2>&1 | tail -n 1"), StringComparison.Ordinal);

        // Known answers: FIPS 180-4's "abc", RFC 8439's and NIST's, as computed by other implementations.
        Assert.EndsWith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", guest.Run("printf abc | openssl dgst -sha256"), StringComparison.Ordinal);
        Assert.EndsWith("a9993e364706816aba3e25717850c26c9cd0d89d", guest.Run("printf abc | openssl dgst -sha1"), StringComparison.Ordinal);
        Assert.EndsWith(
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            guest.Run("printf abc | openssl dgst -sha512"), StringComparison.Ordinal);
        // FIPS 197, appendix B.
        Assert.Equal(
            "3925841d02dc09fbdc118597196a0b32",
            guest.Run("printf '3243f6a8885a308d313198a2e0370734' | xxd -r -p | openssl enc -aes-128-ecb -nopad -K 2b7e151628aed2a6abf7158809cf4f3c | xxd -p"));
        // A key is made, signs, and the signature holds.
        Assert.EndsWith(
            "Verified OK",
            guest.Run("cd /tmp; openssl ecparam -name prime256v1 -genkey -noout -out k && openssl ec -in k -pubout -out p 2>/dev/null && "
                + "openssl dgst -sha256 -sign k -out s /bin/busybox && openssl dgst -sha256 -verify p -signature s /bin/busybox"), StringComparison.Ordinal);

        // A 32-bit user land under the 64-bit kernel.
        Assert.Equal("c0710d6b4f15dfa88f600b0e6b624077  -", guest.Run("busybox32 sh -c 'for i in 1 2 3; do echo $i; done | busybox32 md5sum'"));
        Assert.Equal("0.333333 4611686018427387904", guest.Run("busybox32 awk 'BEGIN { printf \"%f %.0f\\n\", 1 / 3, 2147483648 * 2147483648 }'"));
        Assert.Equal(0, guest.PowerOff());
    }
}
