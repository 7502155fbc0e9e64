// SPDX-License-Identifier: MPL-2.0
//! From red, green and blue to luma and colour differences, by the crate `yuv`.

use yuv::{
    BufferStoreMut, YuvBiPlanarImageMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
    rgb_to_yuv_nv12, rgb_to_yuv420,
};

use crate::picture::formats::{Matrix, PixelFormat, Range, YuvCoding};

impl PixelFormat {
    /// Converts lines of red, green and blue to planes of luma and colour differences, each with its bytes a line.
    pub(super) fn convert<'a>(
        self,
        rgb: &[u8],
        (width, height): (u32, u32),
        mut planes: impl Iterator<Item = (&'a mut [u8], usize)>,
    ) {
        const MODE: YuvConversionMode = YuvConversionMode::Professional;
        let mut plane = || {
            let (plane, stride) = planes.next().unwrap_or_else(|| unreachable!("no plane was left out"));
            (BufferStoreMut::Borrowed(plane), stride as u32)
        };
        let result = match self {
            Self::I420(coding) | Self::A420(coding) => {
                let [(y_plane, y_stride), (u_plane, u_stride), (v_plane, v_stride)] =
                    [plane(), plane(), plane()];
                let mut planes = YuvPlanarImageMut {
                    y_plane,
                    y_stride,
                    u_plane,
                    u_stride,
                    v_plane,
                    v_stride,
                    width,
                    height,
                };
                rgb_to_yuv420(&mut planes, rgb, 3 * width, coding.range(), coding.matrix(), MODE)
            }
            Self::Nv12(coding) => {
                let [(y_plane, y_stride), (uv_plane, uv_stride)] = [plane(), plane()];
                let mut planes =
                    YuvBiPlanarImageMut { y_plane, y_stride, uv_plane, uv_stride, width, height };
                rgb_to_yuv_nv12(&mut planes, rgb, 3 * width, coding.range(), coding.matrix(), MODE)
            }
            Self::Packed(_) => unreachable!("packed formats have no luma"),
        };
        if let Err(error) = result {
            unreachable!("{width} x {height} pixels lie inside their planes: {error}");
        }
    }
}

impl YuvCoding {
    fn matrix(self) -> YuvStandardMatrix {
        match self.matrix {
            Matrix::Bt601 => YuvStandardMatrix::Bt601,
            Matrix::Bt709 => YuvStandardMatrix::Bt709,
        }
    }

    fn range(self) -> YuvRange {
        match self.range {
            Range::Limited => YuvRange::Limited,
            Range::Full => YuvRange::Full,
        }
    }
}
